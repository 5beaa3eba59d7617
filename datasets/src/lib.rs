//! One descriptor per dataset (`*.yaml`) and the readers of their published folder layouts.

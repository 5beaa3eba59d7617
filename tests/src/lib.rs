//! End-to-end tests that drive the built binaries: see the files beside this one.

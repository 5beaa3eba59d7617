//! Scoring weights on prepared datasets: degraded and restored images against clean ones, by dataset and degradation.
//!
//! [`run`] evaluates in memory, all of a [`EvaluationPlan`] or one worker's slice of it, and so serves validation within training as
//! well as for the command `defusion evaluate`.

mod error;
mod figures;
mod plan;
mod report;
mod run;
mod sheet;
mod targets;
mod totals;

pub use error::EvaluateError;
pub use figures::Figures;
pub use plan::{Case, EvaluationPlan};
pub use report::{Provenance, Report, Row, VERSION};
pub use run::{EvaluateOptions, Outcome, Slice, run};
pub use sheet::{COLUMNS, SheetRow, draw as draw_sheet};
pub use targets::Target;
pub use totals::{METRICS, PSNR_CAP, Pass, Totals};

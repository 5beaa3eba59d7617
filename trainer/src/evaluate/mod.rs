//! Scoring weights on prepared datasets: degraded and restored pictures against clean ones, by dataset and degradation.
//!
//! [`run`] evaluates in memory, all of a [`Plan`] or one worker's slice of it, and so serves validation within training as
//! well; [`run_evaluate`] is the command around it.

mod command;
mod error;
mod glyphs;
mod plan;
mod report;
mod run;
mod sheet;
mod targets;
mod totals;

pub use command::{EvaluateArgs, run_evaluate};
pub use error::EvaluateError;
pub use plan::{Case, Plan};
pub use report::{Figures, Provenance, Report, Row, VERSION};
pub use run::{Options, Outcome, Slice, run};
pub use sheet::{COLUMNS, SheetRow, draw as draw_sheet};
pub use targets::Target;
pub use totals::{METRICS, PSNR_CAP, Pass, Totals};

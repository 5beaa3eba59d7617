//! Restoring and scoring, with tiny random networks.

mod images;
mod metrics;
mod tiny;

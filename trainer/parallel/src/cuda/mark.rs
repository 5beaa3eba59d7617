//! The end of a collective on the device.

use std::fmt;
use std::sync::Arc;

use super::context::Context;
use super::event::Event;
use crate::error::ParallelError;

/// An event behind a collective.
pub(crate) struct Mark {
    event: Arc<Event>,
    context: Context,
}

impl Mark {
    /// Pairs an event with the context that it was recorded in.
    pub fn new(event: Arc<Event>, context: Context) -> Self {
        Self { event, context }
    }

    /// Lets what libtorch is given from now on wait for the collective. On a GPU the host does not wait.
    pub fn block_current_stream(&self) -> Result<(), ParallelError> {
        self.context.current_stream()?.wait(&self.event)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark on {:?}", self.context.device())
    }
}

//! The CUDA driver: one stream beside libtorch's, events between the two, and the loading of libraries at run time.

#[allow(unsafe_code)]
mod context;
#[allow(unsafe_code)]
mod driver;
#[allow(unsafe_code)]
mod event;
mod mark;
mod platform;
#[allow(unsafe_code)]
pub(crate) mod shared_object;
#[allow(unsafe_code)]
mod stream;

pub(crate) use context::Context;
pub(crate) use event::Event;
pub(crate) use mark::Mark;
pub use platform::Platform;
pub(crate) use stream::Stream;

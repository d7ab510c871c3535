//! The web page: where it is served, and links to it (`x-web-link`).

#[cfg(not(feature = "web"))]
mod absent;
#[cfg(feature = "web")]
mod served;

#[cfg(not(feature = "web"))]
pub(crate) use absent::{LACKS, Page, Settings};
#[cfg(feature = "web")]
pub(crate) use chardev_web::Settings;
#[cfg(feature = "web")]
pub(crate) use served::Page;

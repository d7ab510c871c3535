//! Streams whose every byte is known, the checks that find what was lost, doubled, reordered or
//! damaged, and a rig that changes a busy console's back end while both run over it.
//!
//! ```text
//!   lines::Lines                                  check::Segment, one for each peer,
//!        │                                        joined in a check::Tally
//!        ▼                                             ▲
//!   ┌─────────┐   output: 0, 1, 2 … end N    ┌─────────┴─────────┐
//!   │ program │ ───▶ chardev ▶ back ends ───▶│ peer 0, 1, 2 …    │
//!   │ or guest│ ◀─── chardev ◀ back ends ◀───│ one after another │
//!   └────┬────┘   input: <0:0 <0:1 [1:0 …    └─────────┬─────────┘
//!        ▼                   ▲                         ▲
//!   records::RecordCheck     │ chardev-change     records::Feed
//!        │               ┌───┴───┐
//!        └─ report ─────▶│  Rig  │  rig::Report
//!           ::Fact       └───────┘
//! ```
//!
//! What a program prints is split among many peers, wherever a change happened to cut it. Joined in
//! their order, it has to be one stream:
//!
//! ```
//! use chardev_load::check::{Segment, Tally};
//! use chardev_load::lines::{Form, Lines};
//!
//! let mut lines = Lines::new(Form::Plain);
//! let mut text = vec![0; 1000];
//! lines.fill(&mut text);
//! lines.end(&mut |rest| text.extend_from_slice(rest));
//!
//! let judge = |pieces: &[&[u8]]| {
//!     let mut tally = Tally::default();
//!     for piece in pieces {
//!         let mut segment = Segment::default();
//!         segment.push(piece);
//!         tally.append(segment);
//!     }
//!     tally.verdict()
//! };
//! assert!(judge(&[&text[..333], &text[333..]]).is_clean());
//! // Line 2, the bytes 4 and 5, comes to neither of two peers.
//! assert_eq!(judge(&[&text[..4], &text[6..]]).lost, 1);
//! ```
//!
//! # Features
//! Without any, [`lines`], [`records`] and [`report`] need nothing but `core`, so that a guest
//! without an operating system makes and checks the same streams. `std` adds the checks that
//! remember, without a dependency. `rig`, the default, adds what starts a daemon and its peers.
//!
//! # What this crate does not do
//! - It asserts nothing: it counts, and who called it judges.
//! - It does not know a guest from a program, nor how either is started.
//! - It measures no speed, although the load is as high as the reader lets it be.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
pub mod check;
pub mod decimal;
#[cfg(feature = "std")]
mod error;
pub mod lines;
#[cfg(feature = "rig")]
pub mod peers;
#[cfg(feature = "rig")]
pub mod program;
#[cfg(feature = "std")]
pub mod random;
pub mod records;
pub mod report;
#[cfg(feature = "rig")]
pub mod rig;
#[cfg(feature = "rig")]
pub mod soak;
#[cfg(feature = "rig")]
pub mod viewer;

#[cfg(feature = "std")]
pub use error::LoadError;

/// How long anything may take before it counts as stuck.
#[cfg(feature = "rig")]
pub(crate) const STUCK: std::time::Duration = std::time::Duration::from_secs(60);

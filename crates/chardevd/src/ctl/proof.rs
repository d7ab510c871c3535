//! How chardevctl says who it is: a token, from a file or the environment. Never from the command
//! line, which everybody on the host can see.
#![allow(clippy::disallowed_methods, reason = "a client may wait")]

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use chardev::text::shown_path;
use chardev_qapi::Object;
use chardev_qmp::client::ClientError;

use super::connect::Monitor;
use super::failure::{Failure, Status};

/// The variable that a token may be in.
const VARIABLE: &str = "CHARDEVD_TOKEN";
/// No file with a token is longer.
const LONGEST: u64 = 4096;
/// For everybody.
const OTHERS: u32 = 0o007;

/// A token, which is shown nowhere.
#[derive(Clone)]
pub struct Proof(String);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

impl Proof {
    /// The token in `file`, or in the environment, if there is one.
    ///
    /// # Errors
    /// The file, why it is of no use, and what to do.
    pub(super) fn find(file: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(file) = file else {
            let token = std::env::var(VARIABLE).ok();
            let token = token.map(|token| token.trim().to_owned());
            return Ok(token.filter(|token| !token.is_empty()).map(Proof));
        };
        let refused = |why: String| {
            Failure::new(
                Status::Usage,
                format!("the token file {}: {why}", shown_path(file)),
            )
        };
        let open = File::open(file).map_err(|error| refused(error.to_string()))?;
        let mode = open.metadata().map(|found| found.mode());
        let mode = mode.map_err(|error| refused(error.to_string()))?;
        if mode & OTHERS != 0 {
            return Err(refused(
                "it is open to everybody; run chmod 600 on it".to_owned(),
            ));
        }
        let mut text = String::new();
        let read = open.take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| refused(error.to_string()))?;
        match text.trim() {
            "" => Err(refused(
                "it is empty; chardevctl token add makes a token".to_owned(),
            )),
            token => Ok(Some(Proof(token.to_owned()))),
        }
    }

    /// Presents it.
    ///
    /// # Errors
    /// It is not taken.
    pub(super) fn present(&self, monitor: &mut Monitor) -> Result<(), ClientError> {
        let token = Object::new().with("token", self.0.as_str());
        monitor.execute("x-authenticate", token).map(drop)
    }
}

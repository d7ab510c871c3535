//! `chardevctl web`: a link to the web page, and a browser that follows it.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};

use chardev_qapi::{Json, Object};

use super::commands::print;
use super::connect::Target;
use super::failure::Failure;

/// Opens the web page, logged in as you are here
///
/// The link that it prints is good for a minute, and for one browser. Where [web] is not in the
/// configuration the page is served on this machine alone, from now until the daemon ends.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only print the link
    #[arg(long)]
    print: bool,
}

/// Asks for a link, prints it, and opens it if somebody is there to see it.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let answer = target.connect()?.execute("x-web-link", Object::new());
    let answer = answer.map_err(|error| target.failed(&error))?;
    let url = answer.get("url").and_then(Json::as_str);
    let url = url.ok_or("the daemon has answered without a link")?;
    print(&format!("{url}\n"))?;
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if !args.print && has_display && std::io::stdout().is_terminal() {
        // Without a browser there is the link.
        let _ = Command::new("xdg-open")
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
    Ok(())
}

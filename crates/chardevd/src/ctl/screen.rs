//! `chardevctl screen`: what a console shows, as text, as escape sequences, as a picture.

use std::path::{Path, PathBuf};

use chardev::screen::{Picture, Screen, Size};
use chardev_qapi::{Json, Object};

use super::commands::{print, print_bytes};
use super::complete;
use super::connect::Target;
use super::failure::Failure;
use super::suggest::execute;

/// Prints what a console shows
///
/// That is the screen of a 'vc', and for any other chardev what its kept output (x-history) leaves
/// on a screen.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// Write a picture to this file instead
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Print escape sequences that make a terminal of its size show the same
    #[arg(long, conflicts_with = "png")]
    ansi: bool,
    /// Columns and rows of the screen that kept output is put on [default: 80x24]
    #[arg(long, value_name = "COLSxROWS", value_parser = parse_size)]
    size: Option<Size>,
}

fn parse_size(text: &str) -> Result<Size, String> {
    let largest = Size::LARGEST;
    let (cols, rows) = text.split_once('x').ok_or("it is like 80x24")?;
    let size = cols.parse().ok().zip(rows.parse().ok());
    let size = size.and_then(|(cols, rows)| Size::new(cols, rows));
    size.ok_or_else(|| {
        let (cols, rows) = (largest.cols(), largest.rows());
        format!("it is from 1x1 to {cols}x{rows}")
    })
}

/// Shows the screen in the way that is asked for.
pub(super) fn screen(target: &Target, args: &Args) -> Result<(), Failure> {
    let mut arguments = Object::new().with("id", args.id.as_str());
    if let Some(size) = args.size {
        arguments.insert("cols", u64::from(size.cols()));
        arguments.insert("rows", u64::from(size.rows()));
    }
    arguments.insert("redraw", args.ansi || args.png.is_some());
    let mut monitor = target.connect()?;
    let shown = execute(target, &mut monitor, &args.id, "x-screen", arguments)?;
    let redraw = shown.get("redraw").and_then(Json::as_str);
    match (&args.png, redraw) {
        (Some(file), redraw) => save(file, &shown, redraw.unwrap_or_default()),
        (None, Some(redraw)) if args.ansi => print_bytes(redraw.as_bytes()).map(drop),
        _ => print(&text(&shown)),
    }
}

/// The rows, down to the last one that has something.
fn text(shown: &Json) -> String {
    let rows = shown.get("text").and_then(Json::as_array);
    let rows = rows.unwrap_or_default().iter().filter_map(Json::as_str);
    let mut text: String = rows.map(|row| format!("{row}\n")).collect();
    let length = text.trim_end_matches('\n').len();
    text.truncate((length + 1).min(text.len()));
    if length == 0 {
        text.clear();
    }
    text
}

/// Draws it here, so that the file is the caller's, wherever the daemon is.
fn save(file: &Path, shown: &Json, redraw: &str) -> Result<(), Failure> {
    let number = |name| {
        let number = shown.get(name).and_then(Json::as_i64);
        number.and_then(|number| usize::try_from(number).ok())
    };
    let size = number("cols").zip(number("rows"));
    let size = size.and_then(|(cols, rows)| Size::new(cols, rows));
    let mut screen = Screen::new(size.unwrap_or(Size::DEFAULT));
    screen.feed_all(redraw.as_bytes());
    let png = Picture::of(&screen.snapshot()).png();
    let saved = png.and_then(|png| std::fs::write(file, png));
    saved.map_err(|error| format!("{}: {error}", file.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_numbers_in_their_range() {
        assert_eq!(parse_size("80x24"), Ok(Size::DEFAULT));
        assert_eq!(parse_size("512x256"), Ok(Size::LARGEST));
        for bad in [
            "", "80", "80x", "x24", "0x24", "80x0", "513x1", "1x257", "80x24x1", "-1x2",
        ] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn empty_rows_at_the_end_are_left_out() {
        for (rows, expected) in [
            (&["", "", ""][..], ""),
            (&["a", "", ""], "a\n"),
            (&["", "a", "b"], "\na\nb\n"),
            (&["a", "", "b", ""], "a\n\nb\n"),
        ] {
            let rows: Vec<Json> = rows.iter().map(|row| (*row).into()).collect();
            let shown = Object::new().with("text", rows).into();
            assert_eq!(text(&shown), expected);
        }
    }
}

//! Turns events of `tracing` into messages.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::queue::Message;

/// What the monitors call the lines about who did what.
const AUDIT: &str = "chardevd::audit";

/// Puts events into the queue.
#[derive(Debug)]
pub(super) struct Messages {
    /// Modules are named.
    pub(super) verbose: bool,
}

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let mut said = text.message;
        if self.verbose {
            said = format!("{}: {said}", metadata.target());
        }
        said.push_str(&text.fields);
        let mut message = Message::new(Some(*metadata.level()), &said);
        // Each thing that somebody was allowed to do is told, however many there are.
        let told_always = metadata.target() == AUDIT && *metadata.level() == Level::INFO;
        message.kind = (!told_always).then(|| metadata.callsite());
        message.console = text.console;
        message.event = text.event;
        super::ERRORS.push(message);
    }
}

#[derive(Debug, Default)]
struct Text {
    message: String,
    fields: String,
    console: Option<String>,
    event: Option<String>,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            // The text names them in its own way.
            "console" => self.console = Some(value.to_owned()),
            "event" => self.event = Some(value.to_owned()),
            name => {
                if name == "label" {
                    self.console = Some(value.to_owned());
                }
                self.record_debug(field, &value);
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

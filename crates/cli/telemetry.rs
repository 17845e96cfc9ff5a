//! Prints `tracing` events as lines on stderr, and displays spans as progress.

use crate::output::log;
use crate::progress::{Busy, Download, Phase};
use std::fmt::{self, Write};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The prefix of the crates whose events are printed.
const CRATES: &str = "rlhf";

/// Installs the subscriber; `least` is the least important level that is printed.
pub(crate) fn listen(least: Level) {
    let subscriber = Registry::default().with(Terminal { least });
    // Fails only if called twice; the program calls it once.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Terminal {
    least: Level,
}

/// The display of a span.
enum Shown {
    /// The work, when it began if its time is printed at the end, and the printer of elapsed time.
    Busy(String, Option<Instant>, #[allow(dead_code)] Busy),
    Phase(Phase),
    Download(Download),
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Terminal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = *metadata.level();
        if level > self.least || !metadata.target().starts_with(CRATES) {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let prefix = if level <= Level::WARN {
            "warning: "
        } else {
            ""
        };
        log(format_args!("{prefix}{}", message.0));
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if self.least < Level::INFO || !attributes.metadata().target().starts_with(CRATES) {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let shown = match attributes.metadata().name() {
            "busy" => {
                let began = (self.least >= Level::DEBUG).then(Instant::now);
                Shown::Busy(fields.work.clone(), began, Busy::new(fields.work))
            }
            "phase" => Shown::Phase(Phase::new(
                &fields.name,
                &fields.unit,
                fields.total,
                fields.done,
            )),
            "download" => Shown::Download(Download::new(
                &fields.repository,
                &fields.file,
                fields.total,
                fields.done,
            )),
            _ => return,
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(shown);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields::default();
        values.record(&mut fields);
        match span.extensions_mut().get_mut() {
            Some(Shown::Phase(phase)) => phase.reach(fields.done),
            Some(Shown::Download(download)) => download.reach(fields.done),
            Some(Shown::Busy(..)) | None => {}
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id) {
            let shown = span.extensions_mut().remove::<Shown>();
            if let Some(Shown::Busy(work, Some(began), _)) = shown {
                log(format_args!(
                    "{work}: {:.2} s",
                    began.elapsed().as_secs_f64()
                ));
            }
        }
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// The fields of a span.
#[derive(Default)]
struct Fields {
    work: String,
    name: String,
    unit: String,
    repository: String,
    file: String,
    total: u64,
    done: u64,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let target = match field.name() {
            "work" => &mut self.work,
            "name" => &mut self.name,
            "unit" => &mut self.unit,
            "repository" => &mut self.repository,
            "file" => &mut self.file,
            _ => return,
        };
        *target = value.into();
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "total" => self.total = value,
            "done" => self.done = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

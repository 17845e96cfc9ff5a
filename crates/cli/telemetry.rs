//! What runs say and how far they are, on stderr: lines of events, and bars or lines of spans.

use crate::output::log;
use crate::progress::{Busy, Download, Phase};
use std::fmt::{self, Write};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The crates whose events are for the user.
const OURS: &str = "rlhf";

/// Listens from now on; `least` is the least important level that is shown.
pub(crate) fn listen(least: Level) {
    let subscriber = Registry::default().with(Terminal { least });
    // There is one program, which calls this once.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Terminal {
    least: Level,
}

/// What is drawn for a span.
enum Drawn {
    /// What it is, since when where that is to be said, and who says that it goes on.
    Busy(String, Option<Instant>, #[allow(dead_code)] Busy),
    Phase(Phase),
    Download(Download),
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Terminal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = *metadata.level();
        if level > self.least || !metadata.target().starts_with(OURS) {
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
        if self.least < Level::INFO || !attributes.metadata().target().starts_with(OURS) {
            return;
        }
        let mut of = Fields::default();
        attributes.record(&mut of);
        let drawn = match attributes.metadata().name() {
            "busy" => {
                let began = (self.least >= Level::DEBUG).then(Instant::now);
                Drawn::Busy(of.work.clone(), began, Busy::new(of.work))
            }
            "phase" => Drawn::Phase(Phase::new(&of.name, &of.unit, of.total, of.done)),
            "download" => {
                Drawn::Download(Download::new(&of.repository, &of.file, of.total, of.done))
            }
            _ => return,
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(drawn);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut of = Fields::default();
        values.record(&mut of);
        match span.extensions_mut().get_mut() {
            Some(Drawn::Phase(phase)) => phase.reach(of.done),
            Some(Drawn::Download(download)) => download.reach(of.done),
            Some(Drawn::Busy(..)) | None => {}
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id) {
            let drawn = span.extensions_mut().remove::<Drawn>();
            if let Some(Drawn::Busy(work, Some(began), _)) = drawn {
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
        let of = match field.name() {
            "work" => &mut self.work,
            "name" => &mut self.name,
            "unit" => &mut self.unit,
            "repository" => &mut self.repository,
            "file" => &mut self.file,
            _ => return,
        };
        *of = value.into();
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

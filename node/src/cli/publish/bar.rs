//! One bar for what takes time: reading and hashing, then sending. Only where somebody watches.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use guildhall_client::package::{Folder, OnSent, Reading};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::output::Format;
use super::super::{Context, Failure};
use super::look::blocking;

/// Redraws a second: fast enough to look alive, slow enough for a terminal at the end of a slow line.
const REDRAWS_PER_S: u8 = 8;

/// How a bar looks: what is done, how much of it, how fast, and how long it still takes.
const LOOK: &str =
    "{msg} [{bar:28}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}";

/// A bar of bytes. Dropping it takes it off the screen.
pub(in crate::cli) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar about `what`, of a length that may be set later.
    pub(in crate::cli) fn new(context: &Context, what: &'static str, bytes: u64) -> Self {
        let is_watched = context.globals.format == Format::Auto
            && io::stdout().is_terminal()
            && io::stderr().is_terminal();
        let target = if is_watched {
            ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_message(what);
        // The look is a constant, and a bar without it still works.
        if let Ok(style) = ProgressStyle::with_template(LOOK) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    /// What sending tells how far it is.
    pub(in crate::cli) fn on_sent(&self) -> OnSent {
        let bar = self.bar.clone();
        Arc::new(move |bytes| bar.inc(bytes))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Reads and hashes a folder behind a bar.
pub(in crate::cli) async fn read_folder(context: &Context, dir: &Path) -> Result<Folder, Failure> {
    let bar = Bar::new(context, "reading", 0);
    let (shown, dir) = (bar.bar.clone(), dir.to_owned());
    let seen = move |reading| match reading {
        Reading::Found { bytes, .. } => shown.set_length(bytes),
        Reading::Hashed { bytes } => shown.inc(bytes),
    };
    let read = blocking(move || Folder::read(&dir, &seen)).await?;
    drop(bar);
    Ok(read?)
}

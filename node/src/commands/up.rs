//! `guild up`: runs the node until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Options, StartError, start};
use crate::home::Home;

/// What a node says when it is ready.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Ready {
    pub(crate) api: String,
    pub(crate) peer_id: String,
    pub(crate) addresses: Vec<String>,
}

/// Starts the node, says that it is ready, and runs it until Ctrl-C or a termination signal.
pub(crate) async fn run(
    home: Home,
    options: Options,
    ready: impl FnOnce(&Ready),
) -> Result<(), StartError> {
    let running = start(home, options).await?;
    ready(&Ready {
        api: running.app.url.clone(),
        peer_id: guildhall_overlay::peer_id_string(&running.app.overlay.me()),
        addresses: running.addresses.clone(),
    });
    running.until_stopped(stop_signal()).await
}

/// Ends when the process is asked to stop. Without signal handlers only Ctrl-C's default is left, which is to end.
pub(crate) async fn stop_signal() {
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match handlers {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

//! `guild up`: runs the node until it is told to stop.

use std::io::IsTerminal as _;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{failed, home};
use crate::app::{Options, start};
use crate::cli::{Context, Failure, UpArgs};

/// What is logged when `GUILD_LOG` says nothing: our own words, and what libraries warn of, but for the DHT, which
/// warns whenever a node has no peers yet.
const LOG_DEFAULT: &str = "warn,libp2p_kad=error,guild=info";

/// Where this is set, the TLS library below QUIC writes its session secrets to the file that it names.
const QUIC_SECRETS: &str = "SSLKEYLOGFILE";

/// Starts the node, says that it is ready, and runs it until Ctrl-C or a termination signal.
pub(crate) async fn up(context: &Context, args: UpArgs) -> Result<(), Failure> {
    log_to_stderr(context);
    if std::env::var_os(QUIC_SECRETS).is_some() {
        tracing::warn!(
            "{QUIC_SECRETS} is set: the secrets of QUIC connections are written to that file"
        );
    }
    let options = Options {
        api: args.api,
        listen: args.listen,
        token: context.globals.token.clone(),
        peers: args.peer,
        follows: (!args.follow.is_empty()).then_some(args.follow),
        replicas_max: args.replicas_max,
        onnxruntime: args.onnxruntime,
    };
    let running =
        start(home(context), options).await.map_err(|error| failed(&error, error.help()))?;
    // Before anybody is told that the node is up: whoever stops it at once stops it in good order.
    let stop = stop_signal();
    let app = &running.app;
    let peer_id = guildhall_overlay::peer_id_string(&app.overlay.me());
    let output = &context.output;
    if output.is_json() {
        output.json(&serde_json::json!({
            "api": app.url,
            "peer_id": peer_id,
            "addresses": running.addresses,
        }))?;
    } else if output.is_quiet() {
        output.line(&app.url)?;
    } else {
        output.line(&format!("api        {}", app.url))?;
        output.line(&format!("node       {peer_id}"))?;
        for address in &running.addresses {
            output.line(&format!("listening  {address}"))?;
        }
        let home = app.home.path().display();
        output.note(&format!("next, in another terminal: guild status --home {home}"));
        output.note(&format!("      to bring in another org: guild invite --home {home}"));
    }
    running.until_stopped(stop).await.map_err(|error| failed(&error, error.help()))
}

/// Logs to stderr: readable lines for a terminal, JSON otherwise when JSON is wanted.
fn log_to_stderr(context: &Context) {
    let filter =
        EnvFilter::try_from_env("GUILD_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber cannot be set; the first one stays.
    let _set = match context.output.is_json() {
        true => logs.json().try_init(),
        false => logs.with_target(false).try_init(),
    };
}

/// Ends when the process is asked to stop; counts from the call on. Without signal handlers only Ctrl-C's default is
/// left, which is to end.
pub(crate) fn stop_signal() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        match signals {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            _ => std::future::pending().await,
        }
    }
}

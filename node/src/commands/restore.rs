//! `guild store restore`: makes a home out of a backup.
//!
//! The store comes as it was; the keys are new, because old keys with an old log would write a second history. Nothing
//! is left behind when it fails.

use std::fs;
use std::path::Path;

use super::{failed, home};
use crate::app;
use crate::cli::{Context, Failure, RestoreArgs, copy_folder, exit};
use crate::home::Home;

/// Copies the store, makes new keys, and gives the store to them.
pub(crate) async fn restore(context: &Context, args: RestoreArgs) -> Result<(), Failure> {
    let home = home(context);
    let root_key = args.root_key.unwrap_or_else(|| home.default_root_key());
    let backup = args.dir;
    if !backup.join("store").is_dir() || backup.extension().is_some_and(|end| end == "partial") {
        let message = format!("{} is no backup, or not a complete one", backup.display());
        return Err(Failure::new(exit::NOT_FOUND, message).with_help("guild store backup DIR"));
    }
    if fs::symlink_metadata(home.path()).is_ok() {
        let message =
            format!("{} exists; a node is restored into a new home", home.path().display());
        return Err(Failure::new(exit::REFUSED, message)
            .with_help("guild store restore BACKUP --home NEW-HOME"));
    }
    let made = make(&home, &backup, &root_key).await;
    if made.is_err()
        && let Err(error) = fs::remove_dir_all(home.path())
        && error.kind() != std::io::ErrorKind::NotFound
    {
        context.output.warning(&format!("{} stays behind: {error}", home.path().display()));
    }
    let peer_id = made?;
    let output = &context.output;
    if output.is_json() {
        return output.json(&serde_json::json!({ "home": home.path(), "peer_id": peer_id }));
    }
    if output.is_quiet() {
        return output.line(&peer_id);
    }
    output.line(&format!("home       {}", home.path().display()))?;
    output.line(&format!("node       {peer_id}"))?;
    output.note("It has new keys; the node that the backup is of must not be started beside it.");
    output.note(&format!("next: guild up --home {}", home.path().display()));
    Ok(())
}

async fn make(home: &Home, backup: &Path, root_key: &Path) -> Result<String, Failure> {
    let io = |path: &Path, error: std::io::Error| {
        Failure::new(exit::FAILED, format!("cannot restore {}", path.display()))
            .with_cause(error.to_string())
    };
    fs::create_dir_all(home.path()).map_err(|error| io(home.path(), error))?;
    let (from, to) = (backup.join("store"), home.store());
    let copied = tokio::task::spawn_blocking(move || copy_folder(&from, &to)).await;
    let copied = copied.map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    copied.map_err(|error| io(backup, error))?;
    let identity = home.restore(backup, root_key).map_err(|error| failed(&error, error.help()))?;
    app::adopt_store(home, &identity, None).await.map_err(|error| failed(&error, error.help()))?;
    Ok(guildhall_overlay::peer_id_string(&identity.node.public()))
}

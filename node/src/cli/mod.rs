//! The command line: what `guild` understands, and how it talks.
//!
//! Data goes to stdout, talk to stderr, and every failure is one `error:` with its causes and, where something can be
//! done, a `help:` line. `init`, `up`, `demo` and `doctor` act on this machine and live in [`commands`](crate::commands);
//! every other command is a client of a running node's API. Exit codes are in [`exit`].
//! A node starts `guild worker` for foreign code, which is no command for people.
//!
//! | module | commands |
//! |---|---|
//! | `local` | arguments of `init`, `up`, `demo` |
//! | `federation` | `invite`, `join`, `status`, `peers` |
//! | `new`, `build` | `new`, `build` |
//! | `publish`, `test`, `diff` | `publish`, `test`, `diff` |
//! | `find`, `show` | `search`, `show` |
//! | `categories`, `demand` | `categories`, `demand` |
//! | `opinions` | `list`, `review`, `reviews`, `yank` |
//! | `get` | `get` |
//! | `run`, `runs`, `outfile` | `run`, `runs`, and the file of their `-o` |
//! | `node`, `rank` | `node offer`, `node drain`, `node follow`, `node rank` |
//! | `store` | `store df`, `gc`, `scrub`, `pin`, `unpin`, `backup`, `restore`, `reindex` |
//!
//! `category` reads categories as people give them, `screen` and `table` lay text out in columns, `escape` makes strangers' text safe to show.

mod build;
mod categories;
mod category;
mod context;
mod demand;
mod diff;
mod escape;
pub(crate) mod exit;
mod failure;
mod federation;
mod find;
mod get;
mod input;
mod local;
mod new;
mod node;
mod opinions;
mod outfile;
mod output;
mod period;
mod publish;
mod rank;
mod receipt;
mod run;
mod runs;
mod screen;
mod show;
mod store;
mod table;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use build::BuildArgs;
pub(crate) use categories::CategoriesArgs;
pub(crate) use context::{Context, Globals};
pub(crate) use demand::DemandArgs;
pub(crate) use diff::DiffArgs;
pub(crate) use escape::escape;
pub(crate) use failure::Failure;
pub(crate) use federation::{InviteArgs, JoinArgs, uptime};
pub(crate) use find::SearchArgs;
pub(crate) use get::GetArgs;
pub(crate) use local::{DemoArgs, InitArgs, UpArgs};
pub(crate) use new::NewArgs;
pub(crate) use node::{NodeCommand, RenewArgs};
pub(crate) use opinions::{ListArgs, ReviewArgs, ReviewsArgs, YankArgs};
pub(crate) use output::Output;
pub(crate) use period::Period;
pub(crate) use publish::PublishArgs;
pub(crate) use run::RunArgs;
pub(crate) use runs::RunsArgs;
pub(crate) use show::ShowArgs;
pub(crate) use store::{RestoreArgs, StoreCommand, copy_folder};
pub(crate) use table::Table;
pub(crate) use test::TestArgs;

/// The only argument of a process that executes foreign code for a node.
const WORKER: &str = "worker";

/// A federated registry for machine-learning content: publish, find and run it between organisations.
#[derive(Debug, Parser)]
#[command(name = "guild", version, after_help = exit::HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an organisation and its first node
    Init(InitArgs),
    /// Run this node until it is stopped
    Up(UpArgs),
    /// Print a string that lets one organisation join the federation
    Invite(InviteArgs),
    /// Join a federation with an invite
    Join(JoinArgs),
    /// Who and how the node is
    Status,
    /// The other nodes it knows
    Peers,
    /// What is wrong with the node and its machine, and how to put it right
    Doctor,
    /// Begin a stage: a folder that builds, passes its tests and can be published
    New(NewArgs),
    /// Assemble the WebAssembly text (.wat) in a folder
    Build(BuildArgs),
    /// Test, sign and list the package in a folder
    Publish(PublishArgs),
    /// Test the package in a folder as a node would, without one
    Test(TestArgs),
    /// What differs between two packages or folders, and whether one fits where the other did
    Diff(DiffArgs),
    /// Find packages by words and criteria
    Search(SearchArgs),
    /// Categories, and how much is listed in each
    Categories(CategoriesArgs),
    /// Everything the node knows about one package, as a page
    Show(ShowArgs),
    /// List what was published with --unlisted
    List(ListArgs),
    /// Take a version of your organisation back: it is found and run no more
    Yank(YankArgs),
    /// Say what your organisation thinks of a package
    Review(ReviewArgs),
    /// What organisations say of a package
    Reviews(ReviewsArgs),
    /// What was asked for and led to nothing
    Demand(DemandArgs),
    /// Fetch a package and write its files
    Get(GetArgs),
    /// Run a model, an algorithm or a pipeline over files or a data package
    Run(RunArgs),
    /// Runs of this node, or one run with its outputs and receipts
    Runs(RunsArgs),
    /// What the node lends and follows, and how it ranks
    #[command(subcommand)]
    Node(NodeCommand),
    /// What the node keeps on disk
    #[command(subcommand)]
    Store(StoreCommand),
    /// Three organisations on this machine: publish, find, run, print
    Demo(DemoArgs),
}

/// Reads the command line, does what it says, and returns the process's exit code.
#[must_use]
pub(crate) fn main() -> ExitCode {
    // A worker locks itself in, so nothing may have been started before it. It is no command for people: the command
    // line does not know it, and so never proposes it.
    if std::env::args_os().skip(1).eq([WORKER]) {
        return crate::commands::worker();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers and go to stdout, mistakes go to stderr; nobody may be listening to either.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let context = Context::new(cli.globals);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return context.output.failure(&Failure::from_error(exit::FAILED, &error));
        }
    };
    let done = runtime.block_on(dispatch(&context, cli.command));
    // A blocking read that never ends, as of a terminal, must not hold the process.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => context.output.failure(&context.in_place(failure)),
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    // Those that act on this machine end themselves when they are interrupted.
    match command {
        Command::Init(args) => {
            context.try_home()?;
            crate::commands::init(context, args).await
        }
        Command::Up(args) => {
            context.try_home()?;
            crate::commands::up(context, args).await
        }
        Command::Demo(args) => crate::commands::demo(context, args).await,
        Command::Node(NodeCommand::Renew(args)) => {
            context.try_home()?;
            crate::commands::renew(context, args).await
        }
        Command::Store(StoreCommand::Restore(args)) => {
            context.try_home()?;
            crate::commands::restore(context, args).await
        }
        Command::Doctor => tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            done = crate::commands::doctor(context) => done,
        },
        command => tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            done = ask(context, command) => {
                context.say_stale();
                done
            }
        },
    }
}

/// Commands that are clients of a running node.
async fn ask(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Invite(args) => federation::invite(context, &args).await,
        Command::Join(args) => federation::join(context, &args).await,
        Command::Status => federation::status(context).await,
        Command::Peers => federation::peers(context).await,
        Command::New(args) => new::new(context, args),
        Command::Build(args) => build::build(context, &args),
        Command::Publish(args) => publish::publish(context, args).await,
        Command::Test(args) => test::test(context, args).await,
        Command::Diff(args) => diff::diff(context, &args).await,
        Command::Search(args) => find::search(context, args).await,
        Command::Categories(args) => categories::categories(context, &args).await,
        Command::Show(args) => show::show(context, &args).await,
        Command::List(args) => opinions::list(context, args).await,
        Command::Yank(args) => opinions::yank(context, &args).await,
        Command::Review(args) => opinions::review(context, args).await,
        Command::Reviews(args) => opinions::reviews(context, &args).await,
        Command::Demand(args) => demand::demand(context, &args).await,
        Command::Get(args) => get::get(context, &args).await,
        Command::Run(args) => run::run(context, args).await,
        Command::Runs(args) => runs::runs(context, &args).await,
        Command::Node(NodeCommand::Offer(args)) => node::offer(context, args).await,
        Command::Node(NodeCommand::Drain(args)) => node::drain(context, args).await,
        Command::Node(NodeCommand::Follow(args)) => node::follow(context, args).await,
        // Acts on this machine; see `commands`.
        Command::Node(NodeCommand::Renew(_)) => Ok(()),
        Command::Node(NodeCommand::Rank(args)) => rank::rank(context, &args).await,
        Command::Store(command) => store::store(context, command).await,
        Command::Init(_) | Command::Up(_) | Command::Demo(_) | Command::Doctor => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::CommandFactory;

    use super::output::Format;
    use super::*;

    #[test]
    fn the_command_line_is_put_together_without_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn globals_may_stand_before_and_after_the_command() {
        for line in [
            "guild --format json --home /x search digits --kind model",
            "guild search digits --kind model --format json --home /x",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.globals.format, Format::Json);
            assert_eq!(cli.globals.home.as_deref(), Some(std::path::Path::new("/x")));
            assert!(matches!(cli.command, Command::Search(_)));
        }
    }

    #[test]
    fn json_is_a_short_way_to_say_it() {
        let cli = Cli::try_parse_from(["guild", "status", "--json"]).unwrap();
        let context = Context::new(cli.globals);
        assert!(context.output.is_json() && context.globals.format == Format::Json);
        assert!(Cli::try_parse_from(["guild", "status", "--json", "--format", "quiet"]).is_err());
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for line in [
            "guild",
            "guild nothing",
            "guild init",
            "guild init --org Bad_Name",
            "guild up --api here",
            "guild search --kind modle",
            "guild search --input image/",
            "guild search --min-accuracy 1.5",
            "guild search --max-latency -1",
            "guild search --gpu some",
            "guild search --limit 0",
            "guild search --page 2",
            "guild search --one --limit 3",
            "guild search --fits image",
            "guild search --for x --one",
            "guild show lab/digits --readme --notebook",
            "guild list lab-a/digits --category vision",
            "guild list --summary x",
            "guild demand --subscribe Vision",
            "guild review lab/digits",
            "guild search --memory lots",
            "guild new --lang perl x",
            "guild new --lang c",
            "guild new x",
            "guild build",
            "guild publish x --visible all",
            "guild publish x --kind modle",
            "guild publish x --force",
            "guild test",
            "guild diff x",
            "guild show digits",
            "guild run lab/digits",
            "guild run lab/digits --input x --on Bad_Org",
            "guild run lab/digits --input x --timeout-ms 0",
            "guild node offer --none --slots 2",
            "guild node offer --to lab-a --to-all",
            "guild node offer --time-per-job 10",
            "guild node offer --quota lots",
            "guild node drain --stop --wait",
            "guild node follow",
            "guild doctor now",
            "guild invite --expires soon",
            "guild invite --expires 8d",
            "guild runs 12xy",
            "guild runs --force",
            "guild store",
            "guild store pin",
            "guild store gc --unused soon",
            "guild get lab/digits --include",
            "guild worker please",
            "guild status --format xml",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }
}

//! A worker process and nothing else, for the tests of this crate. With an argument it tries to break out instead; with
//! a library as second one, after it has loaded that.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        return guildhall_sandbox::worker_main();
    }
    if let Some(library) = std::env::args().nth(2)
        && !guildhall_sandbox::bring_up_onnxruntime(&library)
    {
        return ExitCode::FAILURE;
    }
    match guildhall_sandbox::try_to_break_out() {
        Ok((isolation, tried, worked)) => {
            let mut stdout = std::io::stdout();
            let _nobody_listens = writeln!(stdout, "{isolation:?}\n{tried}\n{}", worked.join("\n"));
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

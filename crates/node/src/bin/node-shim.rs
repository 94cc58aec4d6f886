//! What `trimtab shim` is, for this crate's tests: the process beside each container.

fn main() -> std::process::ExitCode {
    container::shim_main(std::env::args_os().skip(2))
}

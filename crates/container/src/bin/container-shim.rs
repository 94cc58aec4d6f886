//! The shim alone, as the integration tests re-execute it; products call `container::shim_main` from their own binary.

fn main() -> std::process::ExitCode {
    container::shim_main(std::env::args_os().skip(2))
}

//! Compiles the server of `trimtab/static` into one static binary, which the crate embeds.

use std::path::Path;
use std::process::Command;

const SOURCE: &str = "static/server.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"));
    let output = Path::new(&variable("OUT_DIR")).join("static-server");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name=static_server", "--target", &variable("TARGET"), "-O"])
        .args(["-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "strip=symbols", "-C", "lto=fat"])
        // The image's digest must not depend on where it was compiled.
        .args(["--remap-path-prefix", &format!("{}=/build", variable("CARGO_MANIFEST_DIR"))])
        .arg("-o")
        .arg(&output)
        .arg(SOURCE)
        .status()
        .expect("rustc runs: cargo has just used it");
    assert!(status.success(), "{SOURCE} does not compile to a static binary: rustc ended with {status}");
}

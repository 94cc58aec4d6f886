//! The program is linked to fixed addresses, as Go's are. The loader would else write 1.9 MiB of pointers into every process
//! that it starts, and there is one for each Pod.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-no-pie");
}

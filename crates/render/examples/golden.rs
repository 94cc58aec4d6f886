//! Writes down what the real kustomize makes of the cases in `tests/kustomize`: `cargo run -p render --example golden`.
//!
//! It needs `kustomize` (v5.8.2) on the path. A case that kustomize refuses gets the file `refused`; the words in
//! it are ours, and written by the tests with `GOLDEN=1`.

use std::path::Path;
use std::process::Command;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kustomize");
    for case in std::fs::read_dir(root)? {
        let case = case?.path();
        for order in ["legacy", "none"] {
            let output = Command::new("kustomize")
                .args(["build", "--reorder", order])
                .arg("overlay")
                .current_dir(&case)
                .output()?;
            let expected = case.join(format!("{order}.yaml"));
            if output.status.success() {
                std::fs::write(expected, output.stdout)?;
            } else if !case.join("refused").exists() {
                std::fs::write(case.join("refused"), "")?;
            }
        }
    }
    Ok(())
}

//! Milliseconds of whole lives of containers that end at once, one a line:
//! `lives EXE DIRECTORY ROOTFS COUNT PROGRAM [ARG…]`, as root. `EXE shim …` must be the shim.

use container::{Config, Rootfs, Runtime, Spec};
use std::path::PathBuf;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [exe, directory, rootfs, count, program @ ..] = args.as_slice() else {
        return Err("usage: lives EXE DIRECTORY ROOTFS COUNT PROGRAM [ARG…]".into());
    };
    let directory = PathBuf::from(directory);
    let unique = std::process::id();
    let runtime = Runtime::new(Config {
        exe: exe.into(),
        root: directory.join("containers"),
        instance: format!("{unique:08x}"),
        cgroup_parent: format!("trimtab-bench-{unique}"),
    })?;
    let count: usize = count.parse()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for number in 0..count {
            let id = format!("life-{number}");
            let spec = Spec {
                id: id.clone(),
                rootfs: Rootfs { layers: vec![rootfs.into()], writable: None },
                args: program.to_vec(),
                log: directory.join("log"),
                ..Spec::default()
            };
            let begin = Instant::now();
            runtime.start(&spec).await?;
            let exit = runtime.wait(&id).await?;
            runtime.delete(&id).await?;
            println!("{:.3}", begin.elapsed().as_secs_f64() * 1000.0);
            if exit.code != 0 {
                return Err(format!("it ended with {}", exit.code).into());
            }
        }
        runtime.purge().await?;
        Ok(())
    })
}

//! The store, its layers and archives; those that make whiteouts need root.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use oci::*;
use tar::{EntryType, Header};

/// A tar from entries of (type, name, content or link target).
fn tar(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o640 });
        header.set_mtime(1000);
        header.set_uid(0);
        header.set_gid(0);
        // Written raw: the builder refuses what we want to be refused by the store.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        let data = match kind {
            EntryType::Symlink | EntryType::Link => {
                header.set_link_name_literal(content).unwrap();
                ""
            }
            _ => content,
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("oci")).unwrap();
    (directory, store)
}

async fn unpacked(store: &Store, tar: Vec<u8>) -> Result<std::path::PathBuf> {
    let layer = store.add_layer(Cursor::new(tar)).await?;
    store.unpack(&layer)
}

/// Everything in a directory: path → kind and content.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = metadata.file_type();
            let content = match () {
                () if kind.is_dir() => {
                    open.push(path.clone());
                    let mut value = [0; 8];
                    let opaque = rustix::fs::lgetxattr(&path, "trusted.overlay.opaque", &mut value[..]).is_ok();
                    if opaque { "opaque directory".to_owned() } else { "directory".to_owned() }
                }
                () if kind.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
                () if kind.is_file() => fs::read_to_string(&path).unwrap(),
                () if metadata.rdev() == 0 => "whiteout".to_owned(),
                () => "device".to_owned(),
            };
            found.insert(name, content);
        }
    }
    found
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, content)| (name.to_string(), content.to_string())).collect()
}

use EntryType::{Block, Char, Directory, Link, Regular, Symlink};

#[tokio::test]
async fn a_layer_is_unpacked_once_with_links_and_times() {
    let (_directory, store) = store();
    let bytes = tar(&[
        (Directory, "./bin/", ""),
        (Regular, "bin/app", "program"),
        (Link, "bin/same", "bin/app"),
        (Symlink, "usr", "bin"),
        (Regular, "usr/through", "a link"),
        (Regular, "deep/er/file", "made"),
        (Regular, "bin/app", "program 2"),
    ]);
    let plain = store.add_layer(Cursor::new(bytes.clone())).await.unwrap();
    assert_eq!(plain.digest, plain.diff_id);
    let directory = store.unpack(&plain).unwrap();
    let tree = tree(&directory);
    assert_eq!(
        tree,
        expected(&[
            ("bin", "directory"),
            ("bin/app", "program 2"),
            ("bin/same", "program"),
            ("bin/through", "a link"),
            ("usr", "-> bin"),
            ("deep", "directory"),
            ("deep/er", "directory"),
            ("deep/er/file", "made"),
        ])
    );
    let metadata = fs::metadata(directory.join("bin/app")).unwrap();
    assert_eq!((metadata.mtime(), metadata.permissions().mode() & 0o7777), (1000, 0o640));
    assert_eq!(fs::metadata(directory.join("bin")).unwrap().mtime(), 1000);
    for compressed in [gzip(&bytes), zstd::encode_all(&bytes[..], 1).unwrap()] {
        let layer = store.add_layer(Cursor::new(compressed)).await.unwrap();
        assert_ne!(layer.digest, plain.digest);
        assert_eq!((&layer.diff_id, store.unpack(&layer).unwrap()), (&plain.diff_id, directory.clone()));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn hostile_layers_are_refused_and_leave_nothing() {
    let (outside, store) = store();
    let victim = outside.path().join("victim");
    fs::write(&victim, "safe").unwrap();
    let victim_path = victim.to_str().unwrap();
    let directory_path = outside.path().to_str().unwrap();
    let cases: &[(&str, Vec<u8>)] = &[
        ("leads out of the layer", tar(&[(Regular, "../escape", "x")])),
        ("leads out of the layer", tar(&[(Regular, "a/../../escape", "x")])),
        ("leads out of the layer", tar(&[(Link, "hard", "../../victim")])),
        ("a link to nowhere", tar(&[(Symlink, "out", directory_path), (Regular, "out/victim", "x")])),
        ("No such file", tar(&[(Symlink, "out", directory_path), (Link, "mine", "out/victim")])),
        ("", vec![7; 2000]),
    ];
    for (message, bytes) in cases {
        let error = unpacked(&store, bytes.clone()).await.unwrap_err();
        assert!(matches!(&error, Error::Unpack { problem, .. } if problem.contains(message)), "{message}: {error}");
    }
    // What a link points to is not followed when the link itself is replaced.
    let replaced = unpacked(&store, tar(&[(Symlink, "file", victim_path), (Regular, "file", "mine")])).await.unwrap();
    assert_eq!(fs::read_to_string(replaced.join("file")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "safe");
    // An absolute link stays inside the layer.
    let inside = unpacked(&store, tar(&[(Directory, "srv", ""), (Symlink, "out", "/srv"), (Regular, "out/file", "x")]))
        .await
        .unwrap();
    assert!(inside.join("srv/file").exists());
    // Devices are left out.
    assert!(tree(&unpacked(&store, tar(&[(Char, "null", ""), (Block, "disk", "")])).await.unwrap()).is_empty());
    assert_eq!(fs::read_dir(outside.path().join("oci/temporary")).unwrap().count(), 0, "failures leave nothing");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn bombs_stop_at_the_limits() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        layer_bytes_max: 1 << 20,
        layer_entries_max: 10,
        blob_bytes_max: 2 << 20,
        manifest_bytes_max: 100,
        ..Limits::default()
    };
    let store = Store::open_with(directory.path().join("oci"), limits).unwrap();
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    let error = store.add_layer(Cursor::new(bomb)).await.unwrap_err();
    assert!(error.to_string().contains("unpacks to more than 1048576 bytes"), "{error}");
    let many: Vec<String> = (0..11).map(|number| format!("file{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (Regular, name.as_str(), "")).collect();
    let error = unpacked(&store, tar(&many)).await.unwrap_err();
    assert!(error.to_string().contains("more than 10 entries"), "{error}");
    assert!(store.add_layer(Cursor::new(vec![0; 3 << 20])).await.is_err());
    let large = store.put_blob(&[b' '; 200]).unwrap();
    assert!(matches!(store.image(&large), Err(Error::TooLarge { limit: 100, .. })));
    assert_eq!(fs::read_dir(directory.path().join("oci/temporary")).unwrap().count(), 0);
}

#[tokio::test]
#[ignore = "root: whiteouts and trusted attributes"]
async fn whiteouts_go_both_ways_and_packing_is_reproducible() {
    let (directory, store) = store();
    let bytes = tar(&[
        (Regular, ".wh.gone", ""),
        (Regular, "dir/.wh..wh..opq", ""),
        (Regular, "dir/new", "new"),
        (Regular, ".wh.both", ""),
        (Directory, "both", ""),
        (Regular, ".wh..wh.plnk", ""),
    ]);
    let lower = unpacked(&store, bytes).await.unwrap();
    let shape = expected(&[
        ("gone", "whiteout"),
        ("dir", "opaque directory"),
        ("dir/new", "new"),
        ("both", "opaque directory"),
    ]);
    assert_eq!(tree(&lower), shape);

    fs::set_permissions(lower.join("dir/new"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(lower.join("dir/new"), lower.join("dir/zz-same")).unwrap();
    symlink("new", lower.join("dir/link")).unwrap();
    rustix::fs::lsetxattr(lower.join("dir/new"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    let long = "long-".repeat(40);
    fs::create_dir_all(lower.join("dir").join(&long)).unwrap();
    fs::write(lower.join("dir").join(&long).join("file-with-a-name"), "deep").unwrap();
    fs::write(lower.join("skipped"), "x").unwrap();
    rustix::fs::chown(lower.join("dir/new"), Some(rustix::fs::Uid::from_raw(101)), None).unwrap();
    fs::set_permissions(lower.join("dir/new"), fs::Permissions::from_mode(0o4755)).unwrap();
    let options = || CommitOptions { modified_max: Some(5), exclude: vec!["/skipped".into()], adopt: false };
    let one = store.commit_layer(&lower, options()).await.unwrap();
    filetime_now(&lower.join("dir/new"));
    let two = store.commit_layer(&lower, options()).await.unwrap();
    assert_eq!(one, two, "equal content, equal digest");

    let again = store.unpack(&one).unwrap();
    let mut before = tree(&lower);
    before.remove("skipped");
    assert_eq!(tree(&again), before);
    let metadata = fs::metadata(again.join("dir/new")).unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.mtime(), metadata.nlink()),
        (0o4755, 101, 5, 2)
    );
    let mut note = [0; 16];
    let length = rustix::fs::lgetxattr(again.join("dir/new"), "user.note", &mut note[..]).unwrap();
    assert_eq!(&note[..length], b"kept");

    let adopted = directory.path().join("upper");
    fs::create_dir(&adopted).unwrap();
    fs::write(adopted.join("file"), "adopted").unwrap();
    fs::write(adopted.join("stub"), "").unwrap();
    let layer = store
        .commit_layer(&adopted, CommitOptions { exclude: vec!["/stub".into()], adopt: true, ..options() })
        .await
        .unwrap();
    assert!(!adopted.exists());
    assert_eq!(tree(&store.unpack(&layer).unwrap()), expected(&[("file", "adopted")]));
}

fn filetime_now(path: &Path) {
    File::options().append(true).open(path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
}

async fn image(store: &Store, text: &str) -> Digest {
    let layer = store.add_layer(Cursor::new(tar(&[(Regular, "text", text)]))).await.unwrap();
    let mut config = ImageConfig::empty();
    config.config.cmd = vec!["/app".to_owned()];
    config.config.env = vec!["TEXT=yes".to_owned()];
    config.rootfs.diff_ids = vec![layer.diff_id.clone()];
    store.put_image(&serde_json::to_vec(&config).unwrap(), &[layer]).unwrap()
}

#[tokio::test]
async fn images_are_tagged_resolved_exported_and_imported() {
    let (directory, store) = store();
    let digest = image(&store, "one").await;
    let name: Reference = "example.org/shop/web:1".parse().unwrap();
    store.tag(&name, &digest).unwrap();
    assert_eq!(store.resolve(&name).unwrap(), digest);
    let pinned: Reference = format!("example.org/shop/web@{digest}").parse().unwrap();
    assert_eq!(store.resolve(&pinned).unwrap(), digest);
    assert!(matches!(store.resolve(&"example.org/shop/web:2".parse().unwrap()), Err(Error::NotFound { .. })));
    let found = store.image(&digest).unwrap();
    assert_eq!((found.config.config.cmd.as_slice(), found.layers().len()), (["/app".to_owned()].as_slice(), 1));

    let archive = directory.path().join("image.tar");
    drop(store.export(vec![(name.clone(), digest.clone())], File::create(&archive).unwrap()).await.unwrap());
    let (_other_directory, other) = self::store();
    let imported = other.import(&archive, None).await.unwrap();
    assert_eq!(imported, [Imported { digest: digest.clone(), references: vec![name.clone()] }]);
    assert_eq!(other.image(&other.resolve(&name).unwrap()).unwrap(), found);
    let renamed: Reference = "mine:2".parse().unwrap();
    other.import(&archive, Some(renamed.clone())).await.unwrap();
    assert_eq!(other.resolve(&renamed).unwrap(), digest);
    let paths = other.layer_paths(&found).await.unwrap();
    assert_eq!(fs::read_to_string(paths[0].join("text")).unwrap(), "one");

    // What `docker save` writes, with a layer that is a link, compressed as a whole.
    let config = fs::read_to_string(store.blob_path(&found.manifest.config.digest)).unwrap();
    let layer = fs::read(store.blob_path(&found.manifest.layers[0].digest)).unwrap();
    let manifest = r#"[{"Config":"c.json","RepoTags":["app:3"],"Layers":["b/layer.tar"]}]"#;
    let layer = String::from_utf8(layer).unwrap();
    let docker = tar(&[
        (Symlink, "b/layer.tar", "../a/layer.tar"),
        (Regular, "a/layer.tar", &layer),
        (Regular, "c.json", &config),
        (Regular, "manifest.json", manifest),
    ]);
    fs::write(&archive, gzip(&docker)).unwrap();
    assert_eq!(other.import(&archive, None).await.unwrap()[0].references, ["app:3".parse().unwrap()]);

    for (text, problem) in [
        ("", "neither manifest.json"),
        ("[{\"Config\":1}]", "manifest.json: "),
        ("[{\"Config\":\"../../etc/passwd\",\"Layers\":[]}]", "missing in it"),
    ] {
        let entries: &[_] = if text.is_empty() { &[] } else { &[(Regular, "manifest.json", text)] };
        fs::write(&archive, tar(entries)).unwrap();
        let error = other.import(&archive, None).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{text}: {error}");
    }
}

#[tokio::test]
async fn garbage_is_what_nothing_names() {
    let (_directory, store) = store();
    let (tagged, pinned, loose, leased) = (
        image(&store, "tagged").await,
        image(&store, "pinned").await,
        image(&store, "loose").await,
        image(&store, "leased").await,
    );
    let name: Reference = "app:1".parse().unwrap();
    store.tag(&name, &tagged).unwrap();
    for digest in [&tagged, &pinned, &loose] {
        let image = store.image(digest).unwrap();
        store.layer_paths(&image).await.unwrap();
    }
    let lease = store.lease();
    lease.add(&leased);
    let grace = Duration::from_secs(600);
    assert_eq!(store.gc(vec![], vec![], grace).await.unwrap(), Swept::default(), "all is young");
    let swept = store.gc(vec![pinned.clone()], vec![], Duration::ZERO).await.unwrap();
    assert_eq!((swept.blobs, swept.layers), (3, 1));
    for digest in [&tagged, &pinned, &leased] {
        let image = store.image(digest).unwrap();
        store.layer_paths(&image).await.unwrap();
    }
    assert!(matches!(store.image(&loose), Err(Error::BlobMissing { .. })));
    drop(lease);
    assert!(store.untag(&name).unwrap());
    assert!(!store.untag(&name).unwrap());
    let used = store.image(&tagged).unwrap().layers()[0].diff_id.clone();
    let swept = store.gc(vec![], vec![used], Duration::ZERO).await.unwrap();
    assert_eq!((swept.blobs, swept.layers), (9, 2), "the layer in use stays");
    assert!(store.tags().unwrap().is_empty());
}

#[test]
fn a_blob_is_named_by_its_content() {
    let (directory, store) = store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"content").unwrap();
    let wrong = Digest::of(b"other");
    assert!(matches!(writer.finish(Some(&wrong)), Err(Error::DigestMismatch { .. })));
    assert_eq!(store.blob_size(&wrong), None);
    drop(store.blob_writer().unwrap());
    assert_eq!(fs::read_dir(directory.path().join("oci/temporary")).unwrap().count(), 0);
    // Half-written files of a crash are gone after the next start.
    fs::write(directory.path().join("oci/temporary/7"), "half").unwrap();
    let digest = store.put_blob(b"content").unwrap();
    drop(store);
    let store = Store::open(directory.path().join("oci")).unwrap();
    assert_eq!(store.blob_size(&digest), Some(7));
    assert_eq!(fs::read_dir(directory.path().join("oci/temporary")).unwrap().count(), 0);
}

/// Where the test that re-runs itself finds its store.
const CRASH_ROOT: &str = "OCI_TEST_ROOT";

#[tokio::test]
async fn a_crash_leaves_the_old_or_the_new() {
    let name: Reference = "app:1".parse().unwrap();
    let work = async |store: &Store| {
        let digest = image(store, "crash").await;
        store.tag(&name, &digest).unwrap();
        let image = store.image(&digest).unwrap();
        store.layer_paths(&image).await.unwrap();
        image
    };
    if let Ok(root) = std::env::var(CRASH_ROOT) {
        work(&Store::open(root).unwrap()).await;
        unreachable!("the failpoint did not abort");
    }
    for point in FAILPOINTS {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("oci");
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_crash_leaves_the_old_or_the_new"])
            .env(CRASH_ROOT, &root)
            .env("TRIMTAB_FAILPOINT", point);
        let output = command.output().unwrap();
        assert!(
            !output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("did not abort"),
            "{point}"
        );
        let store = Store::open(&root).unwrap();
        for entry in fs::read_dir(root.join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(
                Digest::of(&fs::read(&path).unwrap()).hex(),
                path.file_name().unwrap().to_str().unwrap(),
                "{point}"
            );
        }
        let tagged = store.resolve(&name).is_ok();
        assert_eq!(tagged, ["oci.ref.after", "oci.layer.before", "oci.layer.after"].contains(point), "{point}");
        let layers = fs::read_dir(root.join("layers")).unwrap().count();
        assert_eq!(layers, usize::from(*point == "oci.layer.after"), "{point}");
        let image = work(&store).await;
        let paths = store.layer_paths(&image).await.unwrap();
        assert_eq!(fs::read_to_string(paths[0].join("text")).unwrap(), "crash", "{point}");
    }
}

//! A disk that is full: writes are refused with a sentence, nothing is lost, and all goes on once there is room.

use crate::harness::Home;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::process::Command;

/// A data directory of its own size, unmounted when the test ends.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(home: &Home, megabytes: u32) -> Self {
        let data = home.data();
        fs::create_dir_all(&data).unwrap();
        let options = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "trimtab-full-disk"]).arg(&data).status();
        assert!(mounted.unwrap().success());
        Self(data)
    }

    /// Leaves so many bytes.
    fn fill(&self, left: u64) {
        let path = self.0.join("filler");
        let _ = fs::remove_file(&path);
        let mut file = fs::File::create(&path).unwrap();
        let block = vec![0; 1 << 16];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..1]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

/// The instance is stopped before its disk goes.
struct Full {
    home: Home,
    disk: Disk,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "root: mounts a small disk"]
fn a_full_disk_stops_pushes_uploads_people_journal_and_builds_with_a_sentence_and_loses_nothing() {
    let home = Home::empty();
    let disk = Disk::mount(&home, 160);
    let mut full = Full { home, disk };
    let Full { home, disk } = &mut full;
    home.start(&[]);
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    let history = home.history();
    let git = |home: &Home| {
        let script = "for r in *.git; do git -c safe.directory='*' -C $r for-each-ref && \
            git -c safe.directory='*' -C $r fsck --strict --no-dangling || exit 1; done";
        home.sh(".local/share/trimtab/git/hello", script).ok()
    };
    let (before, people) = (git(home), home.sh("", "trimtab user list").ok());
    let upload = |home: &Home| {
        let script = "token=$(cat .local/share/trimtab/admin.token); digest=$(sha256sum blob | cut -d' ' -f1); \
            at=$(curl -sS -u admin:$token -X POST -D - -o /dev/null $URL/v2/hello/other/blobs/uploads/ | tr -d '\\r' | sed -n 's/^location: //Ip'); \
            case \"$at\" in /*) at=$URL$at;; esac; case \"$at\" in *\\?*) s='&';; *) s='?';; esac; \
            curl -sS -u admin:$token -X PUT -w ' %{http_code}' --data-binary @blob -H 'content-type: application/octet-stream' \
            \"$at${s}digest=sha256:$digest\"";
        home.sh("", &format!("URL=http://{}; {script}", home.address("control")))
    };
    home.sh("", "head -c 3000000 /dev/urandom > blob").ok();

    disk.fill(0);
    fs::write(home.path().join("hello/public/index.html"), "two").unwrap();
    home.push("two").refused(&["disk", "full", "nothing was changed"]);
    home.sh("", "ssh-keygen -q -t ed25519 -N '' -f key").ok();
    home.trimtab(&["user", "add", "ada", "--role", "developer", "--ssh-key", "key.pub"])
        .refused(&["people.json", "No space left"]);
    assert_eq!(home.sh("", "trimtab user list").ok(), people);
    let said = upload(home).text;
    assert!(said.contains("507") && said.contains("full"), "{said}");
    // A movement needs a commit, an entry of the journal: it waits, and says for what.
    let asked = home.trimtab(&["promote", "hello", "--project", "hello", "--to", "staging", "--detach"]);
    if asked.code == 0 {
        home.eventually("the status says that there is no room", || {
            let said = home.trimtab(&["status", "--project", "hello"]).text;
            said.contains("No space left") || said.contains("no space left") || said.contains("disk is full")
        });
    } else {
        assert!(asked.text.contains("full") || asked.text.contains("space"), "{}", asked.text);
    }
    assert_eq!(git(home), before);

    // Room for the push, and none for what is built of it.
    fs::write(home.path().join("hello/public/large"), fs::read(home.path().join("blob")).unwrap()).unwrap();
    disk.fill(7 << 20);
    let said = home.push("three").text;
    assert!(said.contains("No space left") && said.contains("failed"), "{said}");
    home.sh("hello", "git rm -q --cached public/large && rm public/large").ok();

    disk.make_room();
    assert!(upload(home).text.contains("201"));
    home.trimtab(&["user", "add", "ada", "--role", "developer", "--ssh-key", "key.pub"]).ok();
    if asked.code != 0 {
        home.trimtab(&["promote", "hello", "--project", "hello", "--to", "staging", "--build", "hello-1"]).ok();
    }
    home.eventually("staging has what it was to have", || home.healthy("staging").as_deref() == Some("hello-1"));
    home.push("four").ok();
    home.eventually("the last push runs", || home.healthy("dev").is_some_and(|build| build > "hello-1".to_owned()));
    let after = home.history();
    assert!(after.ends_with(&history), "entries were lost");
    let moved = |e: &&Value| e["kind"] == "admitted" && e["summary"].to_string().contains("staging: hello-");
    let staged = after.iter().filter(moved);
    assert_eq!(staged.count(), 1, "{}", home.trimtab(&["history"]).text);
    home.trimtab(&["audit", "verify", "--project", "hello"]).ok();
    git(home);
    home.kill();
    home.start(&[]);
    assert_eq!(home.history(), after);
}

//! Changes made of values.

use crate::fake::{COMMIT, World, of, only};
use async_trait::async_trait;
use model::change::{ChangeDetail, ChangeSummary, Check, Comment, NewCheck, NewComment};
use model::journal::Entry;
use model::people::Person;
use model::{Change, Project};
use serde_json::{Value, json};
use web::{Error, Result, Reviews};

fn change(number: u64, state: &str) -> Value {
    let set = |set: u32| {
        json!({
            "number": set, "commit": COMMIT, "base": COMMIT, "commits": 1, "by": "eve", "at": "2026-11-21T09:00:00Z",
            "title": "prod: shop-2 → shop-3 <i>now</i>", "description": "because\nit is time",
        })
    };
    let said = |path: Value, line: Value| json!({ "by": "olga", "at": "2026-11-21T09:10:00Z", "patchSet": 2, "path": path, "line": line, "text": "why <b>three</b>?" });
    json!({
        "number": number,
        "spec": {
            "project": "demo", "repository": { "project": "demo", "name": "config" }, "author": "eve", "topic": "three",
            "created": "2026-11-21T09:00:00Z",
        },
        "status": {
            "state": state, "patchSets": [set(1), set(2)],
            "comments": [said(json!(null), json!(null)), said(json!("environments/prod.yaml"), json!(3))],
            "checks": [{ "name": "lint", "state": "Failed", "commit": COMMIT, "by": "ci", "at": "2026-11-21T09:05:00Z", "message": "too plain" }],
        },
    })
}

fn summary(number: u64, state: &str, blocked: &[&str]) -> Value {
    let mut value = change(number, state);
    value["approvedBy"] = json!(["olga"]);
    value["blocked"] = json!(blocked);
    value
}

fn detail(number: u64) -> Value {
    let mut value = match number {
        3 => summary(3, "Open", &[]),
        _ => summary(number, "Open", &["1 of 2 approvals for prod", "check lint failed: too plain"]),
    };
    value["address"] = json!("http://127.0.0.1:7181/p/demo/changes/1");
    value["needs"] = json!([{ "environment": "prod", "count": 2, "by": ["olga"] }]);
    value["plans"] = json!([
        { "environment": "dev", "reviewed": false, "objects": [] },
        {
            "environment": "prod", "reviewed": true, "change": "shop-2 → shop-3", "notes": ["its gates change"],
            "objects": [{ "object": "Deployment.apps shop", "action": "configure", "diff": "@@ -1,3 +1,3 @@\n a: 1\n-image: <two>\n+image: three\n" }],
            "gates": [{ "name": "window", "state": "Waiting", "message": "office-hours opens at 08:00" }],
            "policies": [{ "policy": "no-latest", "action": "warn", "object": "Deployment.apps shop", "message": "a tag is no digest" }],
        },
    ]);
    value["files"] = json!([{ "path": "environments/prod.yaml", "diff": "@@ -1 +1 @@\n-old\n+new\n" }]);
    value
}

impl World {
    fn known<T>(&self, project: &Project, number: u64, value: T) -> Result<T> {
        match number {
            1..=3 => only(project, value),
            _ => Err(Error::NotFound(format!("there is no Change {number}"))),
        }
    }
}

#[async_trait]
impl Reviews for World {
    async fn all_changes(&self, project: &Project, closed: usize) -> Result<Vec<ChangeSummary>> {
        let mut all = vec![summary(3, "Open", &[]), summary(1, "Open", &["1 of 2 approvals for prod"])];
        if closed > 0 {
            all.push(summary(2, "Merged", &[]));
        }
        only(project, of(json!(all)))
    }
    async fn change(&self, project: &Project, number: u64) -> Result<ChangeDetail> {
        self.known(project, number, of(detail(number)))
    }
    async fn approve_change(&self, project: &Project, number: u64, reason: &str, person: &Person) -> Result<Entry> {
        self.ask(format!("{} approves Change {number}: {reason}", person.name));
        let entry = json!({ "id": "1", "kind": "approved", "at": "2026-11-21T09:00:00Z", "actor": person.name, "summary": "approved" });
        self.known(project, number, of(entry))
    }
    async fn comment_change(&self, project: &Project, number: u64, said: NewComment, actor: &str) -> Result<Comment> {
        self.ask(format!("{actor} says of Change {number} {:?} {:?}: {}", said.path, said.line, said.text));
        self.known(project, number, of(change(number, "Open")["status"]["comments"][0].clone()))
    }
    async fn check_change(&self, project: &Project, number: u64, found: NewCheck, actor: &str) -> Result<Check> {
        self.ask(format!("{actor} found {} {:?}", found.check, found.state));
        self.known(project, number, of(change(number, "Open")["status"]["checks"][0].clone()))
    }
    async fn merge_change(&self, project: &Project, number: u64, person: &Person) -> Result<Change> {
        self.ask(format!("{} merges Change {number}", person.name));
        self.known(project, number, of(change(number, "Merged")))
    }
    async fn abandon_change(&self, project: &Project, number: u64, reason: &str, person: &Person) -> Result<Change> {
        self.ask(format!("{} abandons Change {number}: {reason}", person.name));
        self.known(project, number, of(change(number, "Abandoned")))
    }
}

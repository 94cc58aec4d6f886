use super::*;
use serde_json::{Value, from_value, json};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn ago(seconds: i64) -> String {
    (NOW - SignedDuration::from_secs(seconds)).to_string()
}

fn job(spec: Value, status: Value) -> Job {
    let mut whole =
        json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "template": {"spec": {"containers": []}}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    from_value(json!({"metadata": {"name": "j", "uid": "job"}, "spec": whole, "status": status})).unwrap()
}

/// `held` Pods have the finalizer; `ended` is for how many seconds.
fn pod(name: &str, phase: &str, held: bool, ended: i64) -> Arc<Pod> {
    let finalizers: Vec<&str> = if held { vec![super::super::pods::FINALIZER] } else { vec![] };
    let state = json!({"terminated": {"exitCode": 0, "finishedAt": ago(ended)}});
    let container = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    Arc::new(
        from_value(json!({
            "metadata": {"name": name, "uid": name, "finalizers": finalizers},
            "status": {"phase": phase, "containerStatuses": if phase == "Running" { json!([]) } else { json!([container]) }},
        }))
        .unwrap(),
    )
}

/// What is done, on one line.
fn shown(spec: Value, status: Value, pods: &[Arc<Pod>]) -> String {
    let decision = decide(&job(spec, status), pods, NOW);
    let status = &decision.status;
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| uid(&**pod).to_owned()).collect::<Vec<_>>().join(" ");
    let conditions: Vec<String> =
        status.conditions.iter().flatten().map(|c| format!("{}={}", c.type_, c.status)).collect();
    let mut words = vec![
        format!("succeeded {}+{}", status.succeeded.unwrap_or(0), uncounted.succeeded.unwrap_or_default().len()),
        format!("failed {}+{}", status.failed.unwrap_or(0), uncounted.failed.unwrap_or_default().len()),
    ];
    words.extend((decision.create > 0).then(|| format!("create {}", decision.create)));
    words.extend((!decision.delete.is_empty()).then(|| format!("delete {}", names(&decision.delete))));
    words.extend((!decision.release.is_empty()).then(|| format!("release {}", names(&decision.release))));
    words.extend(decision.next.map(|next| format!("look in {} s", next.as_secs())));
    words.extend(decision.expired.then(|| "expired".to_owned()));
    words.extend((!conditions.is_empty()).then(|| conditions.join(" ")));
    words.join(", ")
}

#[test]
fn a_pod_is_counted_once_and_only_then_let_go() {
    let ended = [pod("a", "Succeeded", true, 1)];
    let told = "SuccessCriteriaMet=True";
    assert_eq!(
        shown(json!({}), json!({}), &ended),
        format!("succeeded 0+1, failed 0+0, release a, {told}"),
        "noted before it is let go"
    );
    let noted = json!({"uncountedTerminatedPods": {"succeeded": ["a"]}});
    assert_eq!(
        shown(json!({}), noted.clone(), &ended),
        format!("succeeded 0+1, failed 0+0, release a, {told}"),
        "the same again"
    );
    let released = [pod("a", "Succeeded", false, 1)];
    for pods in [&released[..], &[]] {
        let shown = shown(json!({}), noted.clone(), pods);
        assert_eq!(shown, format!("succeeded 1+0, failed 0+0, {told} Complete=True"));
    }
}

#[test]
fn as_many_run_at_once_as_wanted_and_as_are_missing() {
    let running =
        |count: usize| -> Vec<Arc<Pod>> { (0..count).map(|n| pod(&format!("r{n}"), "Running", true, 0)).collect() };
    let spec = |completions: Value, parallelism: i32| json!({"completions": completions, "parallelism": parallelism});
    for (spec, status, pods, expected) in [
        (spec(json!(5), 2), json!({}), running(0), "succeeded 0+0, failed 0+0, create 2"),
        (spec(json!(5), 2), json!({}), running(1), "succeeded 0+0, failed 0+0, create 1"),
        (spec(json!(5), 2), json!({"succeeded": 4}), running(0), "succeeded 4+0, failed 0+0, create 1"),
        (spec(json!(5), 2), json!({"succeeded": 4}), running(1), "succeeded 4+0, failed 0+0"),
        (spec(json!(5), 0), json!({}), running(1), "succeeded 0+0, failed 0+0, delete r0, release r0"),
        (spec(json!(0), 1), json!({}), running(0), "succeeded 0+0, failed 0+0, SuccessCriteriaMet=True Complete=True"),
        // A work queue: the first success says that there is nothing left to begin.
        (spec(Value::Null, 3), json!({}), running(0), "succeeded 0+0, failed 0+0, create 3"),
        (spec(Value::Null, 3), json!({"succeeded": 1}), running(2), "succeeded 1+0, failed 0+0"),
        (
            spec(Value::Null, 3),
            json!({"succeeded": 1}),
            running(0),
            "succeeded 1+0, failed 0+0, SuccessCriteriaMet=True Complete=True",
        ),
    ] {
        assert_eq!(shown(spec.clone(), status.clone(), &pods), expected, "{spec} {status}");
    }
}

#[test]
fn failures_are_waited_for_and_have_a_limit() {
    let failed = |ended: &[i64]| -> Vec<Arc<Pod>> {
        ended.iter().enumerate().map(|(n, ended)| pod(&format!("f{n}"), "Failed", false, *ended)).collect()
    };
    for (pods, expected) in [
        (failed(&[4]), "look in 6 s"),
        (failed(&[30, 4]), "look in 16 s"),
        (failed(&[300, 200, 100, 4]), "look in 76 s"),
        (failed(&[11]), "create 1"),
    ] {
        let status = json!({"failed": pods.len()});
        assert_eq!(shown(json!({}), status, &pods), format!("succeeded 0+0, failed {}+0, {expected}", pods.len()));
    }
    // A success since then forgives them.
    let forgiven = [failed(&[4, 3]), vec![pod("s", "Succeeded", false, 2)]].concat();
    let shown_now = shown(json!({"completions": 2}), json!({"failed": 2, "succeeded": 1}), &forgiven);
    assert_eq!(shown_now, "succeeded 1+0, failed 2+0, create 1");
    // Over the limit: the others go too, and only then has it failed.
    let running = pod("r", "Running", true, 0);
    let over = shown(json!({"backoffLimit": 1, "parallelism": 2, "completions": 2}), json!({"failed": 2}), &[running]);
    assert_eq!(over, "succeeded 0+0, failed 2+0, delete r, FailureTarget=True");
    let last = shown(json!({"backoffLimit": 1}), json!({"failed": 2}), &[]);
    assert_eq!(last, "succeeded 0+0, failed 2+0, FailureTarget=True Failed=True");
}

#[test]
fn containers_that_restart_themselves_count_too() {
    let mut pod = (*pod("r", "Running", true, 0)).clone();
    let restarted = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 2}]);
    pod.status.as_mut().unwrap().container_statuses = from_value(restarted).unwrap();
    let spec = |limit: i32| json!({"backoffLimit": limit, "template": {"spec": {"containers": [], "restartPolicy": "OnFailure"}}});
    let pods = [Arc::new(pod)];
    assert!(shown(spec(2), json!({}), &pods).contains("FailureTarget=True"));
    assert!(!shown(spec(3), json!({}), &pods).contains("FailureTarget"));
}

#[test]
fn time_ends_what_does_not_end_itself() {
    let running = [pod("r", "Running", true, 0)];
    let started = |seconds| json!({"startTime": ago(seconds)});
    let spec = json!({"activeDeadlineSeconds": 60});
    assert!(shown(spec.clone(), started(20), &running).contains("look in 40 s"));
    let over = decide(&job(spec, started(60)), &running, NOW);
    assert_eq!(over.status.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(over.delete.len(), 1);
    let finished =
        |seconds| json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": ago(seconds)}]});
    assert!(shown(json!({"ttlSecondsAfterFinished": 30}), finished(20), &[]).contains("look in 10 s"));
    assert!(shown(json!({"ttlSecondsAfterFinished": 30}), finished(30), &[]).contains("expired"));
    assert!(!shown(json!({}), finished(3000), &[]).contains("expired"));
}

#[test]
fn a_suspended_job_gives_up_its_pods_without_a_failure() {
    let running = [pod("r", "Running", true, 0)];
    let suspended = decide(&job(json!({"suspend": true}), json!({})), &running, NOW);
    assert_eq!((suspended.release.len(), suspended.delete.len(), suspended.create), (1, 1, 0));
    assert_eq!((suspended.status.failed, suspended.status.start_time), (None, None));
    let conditions = json!([{"type": "Suspended", "status": "True"}]);
    let resumed = decide(&job(json!({}), json!({"conditions": conditions, "startTime": ago(900)})), &[], NOW);
    assert_eq!(resumed.status.start_time, Some(Time(NOW)), "its time begins anew");
    assert_eq!((resumed.create, resumed.status.conditions.unwrap()[0].status.as_str()), (1, "False"));
}

#[test]
fn what_is_not_supported_fails_and_says_so() {
    let decision = decide(&job(json!({"completionMode": "Indexed"}), json!({})), &[], NOW);
    let conditions = decision.status.conditions.unwrap();
    assert_eq!(conditions[0].reason.as_deref(), Some("NotSupported"));
    assert_eq!(decision.create, 0);
}

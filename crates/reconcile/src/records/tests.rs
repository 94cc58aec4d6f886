use super::*;
use serde_json::json;

/// Objects by name; counts how often they are listed.
#[derive(Default)]
struct Api {
    objects: Mutex<HashMap<String, Value>>,
    listed: AtomicU64,
    wakes: Mutex<Vec<Wake>>,
    broken: AtomicBool,
}

impl Api {
    /// Somebody else writes.
    fn put(&self, object: Value) {
        self.objects.lock().unwrap().insert(object["metadata"]["name"].to_string(), object);
        self.wakes.lock().unwrap().iter().for_each(|wake| wake());
    }
}

#[async_trait]
impl Records for Api {
    async fn open(&self, _: &Project) -> Result<()> {
        Ok(())
    }
    async fn list(&self, _: Kind, _: &Project) -> Result<Vec<Value>> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        Ok(self.objects.lock().unwrap().values().cloned().collect())
    }
    async fn create(&self, kind: Kind, object: &Value) -> Result<bool> {
        self.apply(kind, object).await.map(|()| true)
    }
    async fn apply(&self, _: Kind, object: &Value) -> Result<()> {
        self.objects.lock().unwrap().insert(object["metadata"]["name"].to_string(), object.clone());
        // It is written all the same: the answer was lost.
        match self.broken.load(Ordering::SeqCst) {
            true => Err(model::ports::PortError::Transient("no answer".to_owned())),
            false => Ok(()),
        }
    }
    async fn delete(&self, _: Kind, _: &Project, name: &str) -> Result<()> {
        self.objects.lock().unwrap().remove(&json!(name).to_string());
        Ok(())
    }
    async fn watch(&self, _: &Project, wake: Wake) -> Result<()> {
        self.wakes.lock().unwrap().push(wake);
        Ok(())
    }
}

fn build(number: u64) -> Value {
    json!({ "metadata": { "name": format!("web-{number}"), "namespace": "shop" }, "spec": {
        "project": "shop", "build": format!("web-{number}"), "repository": { "project": "shop", "name": "web" },
        "commit": "a".repeat(40), "pushedBy": "ada", "message": "", "created": "2026-01-01T00:00:00Z" } })
}

#[tokio::test]
async fn what_nobody_wrote_since_is_not_listed_again() {
    let (api, project) = (Arc::new(Api::default()), "shop".parse::<Project>().unwrap());
    let records = Remembered::new(api.clone());
    let count = async || {
        let found = records.builds(&project).await.unwrap().len();
        (found, api.listed.load(Ordering::SeqCst))
    };
    assert_eq!(count().await, (0, 1));
    api.put(build(1));
    assert_eq!(count().await, (1, 2), "nobody tells of it before there is a watch");
    records.watch(&project, Arc::new(|| {})).await.unwrap();
    assert_eq!(count().await, (1, 3), "the watch may have begun too late");
    assert_eq!(count().await, (1, 3));
    api.put(build(2));
    assert_eq!(count().await, (2, 4), "somebody else wrote");
    records.apply(Kind::ComponentDeployment, &build(3)).await.unwrap();
    assert_eq!(count().await, (2, 4), "one of another kind");
    records.create(Kind::Build, &build(4)).await.unwrap();
    assert_eq!(count().await, (4, 5), "we wrote");
    api.broken.store(true, Ordering::SeqCst);
    records.apply(Kind::Build, &build(5)).await.unwrap_err();
    assert_eq!(count().await, (5, 6), "nobody knows what became of it");
    records.delete(Kind::Build, &project, "web-5").await.unwrap();
    assert_eq!(count().await, (4, 7));
    assert_eq!(count().await, (4, 7));
}

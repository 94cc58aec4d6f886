//! The threads that serve clients, and who is let in.

use crate::error::Error;
use crate::handover::Departures;
use crate::proxy::{Proxy, Worker};
use crate::session;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Passing bytes on needs little; more threads only cost memory.
const THREADS_MAX: usize = 2;
/// Clients at the same time, if enough files may be open.
const CONNECTIONS_MAX: usize = 8192;
/// Of one address, as a share of all: nobody alone can keep the others out.
const SHARE: usize = 4;
/// Descriptors that are not connections: listeners, the store, logs.
const DESCRIPTORS_KEPT: u64 = 64;
/// Connections that a predecessor hands over, and that wait to be let in.
const ARRIVING_MAX: usize = 64;
/// Idle connections to endpoints are looked at this often.
const SWEEP: Duration = Duration::from_secs(20);

/// As many as there are processors for us, within reason.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Threads with a runtime each. A connection stays on its thread, and so do the connections to endpoints that it uses:
/// nothing is handed from one to the other.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    workers: Vec<Arc<Worker>>,
    arrivals: Vec<mpsc::Sender<TcpStream>>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// All accept from the same listener.
    pub fn start(
        listener: &TcpListener,
        threads: usize,
        proxy: &Arc<Proxy>,
        admission: &Arc<Admission>,
    ) -> Result<Self, Error> {
        let (stop, stopped) = watch::channel(false);
        let (mut started, mut workers, mut arrivals) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..threads {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
            let listener = listener.try_clone().map_err(Error::Start)?;
            let worker = Arc::new(Worker::new(proxy.clone(), index));
            let (arrival, arriving) = mpsc::channel(ARRIVING_MAX);
            arrivals.push(arrival);
            workers.push(worker.clone());
            let (admission, mut stopped) = (admission.clone(), stopped.clone());
            let work = move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, arriving, &worker, &admission) => {}
                        () = sweep(&worker) => {}
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                });
                // Streams that are still open end with the process.
                runtime.shutdown_background();
            };
            let thread = std::thread::Builder::new().name(format!("serve-{index}")).spawn(work);
            started.push(thread.map_err(Error::Start)?);
        }
        Ok(Self { threads: started, workers, arrivals, stop })
    }

    /// Where connections go that a predecessor hands over.
    pub fn arrivals(&self) -> Vec<mpsc::Sender<TcpStream>> {
        self.arrivals.clone()
    }

    /// Nobody is let in any more, and connections that come to rest go to a successor.
    pub fn leave(&self, departures: &Departures) {
        for worker in &self.workers {
            worker.leave(departures.clone());
        }
    }

    /// Ends them and waits.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: TcpListener,
    mut arriving: mpsc::Receiver<TcpStream>,
    worker: &Arc<Worker>,
    admission: &Arc<Admission>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listener cannot be used"),
    };
    tokio::select! {
        () = admit(&listener, &mut arriving, worker, admission) => {}
        () = worker.left() => {}
    }
    drop(listener);
    // Those who are in are served to their end.
    std::future::pending().await
}

async fn admit(
    listener: &tokio::net::TcpListener,
    arriving: &mut mpsc::Receiver<TcpStream>,
    worker: &Arc<Worker>,
    admission: &Arc<Admission>,
) {
    loop {
        // Taken before accepting: more clients wait in the kernel's queue instead of failing.
        let Ok(permit) = admission.slots.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(stream) = arriving.recv() => arrived(stream),
        };
        match accepted {
            Ok((stream, peer)) => match admission.admit(peer.ip().to_canonical(), permit) {
                Some(guest) => drop(tokio::spawn(session::serve(stream, guest, worker.clone()))),
                None => tracing::debug!(%peer, "too many connections of one address"),
            },
            Err(error) => refused(error).await,
        }
    }
}

/// A connection that a predecessor had accepted.
fn arrived(stream: TcpStream) -> io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    stream.set_nonblocking(true)?;
    let peer = stream.peer_addr()?;
    Ok((tokio::net::TcpStream::from_std(stream)?, peer))
}

async fn sweep(worker: &Worker) {
    loop {
        tokio::time::sleep(SWEEP).await;
        worker.sweep();
    }
}

/// Out of descriptors or memory: let some be given back.
pub async fn refused(error: io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Who may come in.
pub struct Admission {
    slots: Arc<Semaphore>,
    most: usize,
    of_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    /// Raises the limit of open files as far as we may; a client costs two: its own and the endpoint's.
    pub fn new() -> Self {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let possible = usize::try_from(files.saturating_sub(DESCRIPTORS_KEPT) / 2).unwrap_or(usize::MAX);
        Self::with(possible.clamp(1, CONNECTIONS_MAX))
    }

    fn with(most: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(most)), most, of_address: Mutex::default() }
    }

    /// Clients that may be connected at the same time.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Returns when nobody is connected, and lets nobody in.
    pub async fn empty(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.slots.acquire_many(all).await;
    }

    /// Clients that are connected.
    pub fn taken(&self) -> usize {
        self.of_address().values().sum()
    }

    fn admit(self: &Arc<Self>, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Guest> {
        let mut counts = self.of_address();
        let count = counts.entry(address).or_default();
        if *count >= (self.most / SHARE).max(1) {
            return None;
        }
        *count += 1;
        Some(Guest { address, name: address.to_string(), admission: self.clone(), _permit: permit })
    }

    fn of_address(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.of_address.lock().expect("no code panics while it holds this lock")
    }
}

/// A client's connection. It counts as one for as long as anything of it is left, tunnels included.
pub struct Guest {
    address: IpAddr,
    name: String,
    admission: Arc<Admission>,
    _permit: OwnedSemaphorePermit,
}

impl Guest {
    /// Its address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// There is little room left for others.
    pub fn is_crowded(&self) -> bool {
        self.admission.slots.available_permits() <= self.admission.most / 4
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.admission.of_address();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_a_share_and_gives_it_back() {
        let admission = Arc::new(Admission::with(8));
        let come = |last: u8| {
            let permit = admission.slots.clone().try_acquire_owned().unwrap();
            admission.admit(IpAddr::from([127, 0, 0, last]), permit)
        };
        let first = come(1).unwrap();
        let _second = come(1).unwrap();
        assert!(come(1).is_none(), "a quarter of eight");
        assert!(!first.is_crowded());
        let others: Vec<Guest> = (2..=5).map(|last| come(last).unwrap()).collect();
        assert!(first.is_crowded());
        assert_eq!((admission.taken(), admission.slots.available_permits()), (6, 2));
        drop((first, others));
        assert!(come(1).is_some());
        assert_eq!(admission.of_address().len(), 1);
    }
}

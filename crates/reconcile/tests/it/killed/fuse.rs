//! Dies at a chosen effect, as `kill -9` would.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// On which side of the effect the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// Counts durable effects, and lets none through once it has blown.
#[derive(Default)]
pub struct Fuse {
    armed: Mutex<Option<(usize, Side)>>,
    blown: AtomicBool,
    names: Mutex<Vec<&'static str>>,
}

impl Fuse {
    /// Blows at the effect with this number, from 0.
    pub fn arm(&self, at: usize, side: Side) {
        *self.armed.lock().unwrap() = Some((at, side));
    }

    pub fn reset(&self) {
        *self.armed.lock().unwrap() = None;
        self.blown.store(false, Ordering::SeqCst);
    }

    pub fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    /// Names of all effects that took place since the last time.
    pub fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.names.lock().unwrap())
    }

    /// Runs an effect; never returns from the one at which the process dies, nor from any after it.
    pub async fn effect<T>(&self, name: &'static str, run: impl FnOnce() -> T) -> T {
        let side = self.side();
        if side == Some(Side::Before) {
            return std::future::pending().await;
        }
        let done = run();
        self.names.lock().unwrap().push(name);
        if side == Some(Side::After) {
            return std::future::pending().await;
        }
        done
    }

    fn side(&self) -> Option<Side> {
        let mut armed = self.armed.lock().unwrap();
        match armed.as_mut() {
            Some((0, side)) => {
                let side = *side;
                *armed = None;
                self.blown.store(true, Ordering::SeqCst);
                Some(side)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => self.is_blown().then_some(Side::Before),
        }
    }
}

//! A Deployment whose size changed, or that is paused: its ReplicaSets keep their shares.

use super::draft::Draft;
use super::rollout::Rollout;
use super::spec::is_recreate;
use std::cmp::Reverse;

impl Rollout<'_> {
    /// True if a ReplicaSet with Pods was last scaled for another size of the Deployment.
    pub(crate) fn is_resized(&self) -> bool {
        let mut noted = self.sets.iter().filter(|draft| draft.is_active()).filter_map(Draft::desired_replicas);
        noted.any(|desired| desired != self.limits.replicas)
    }

    pub(crate) fn resize(&mut self) {
        let limits = self.limits;
        let active: Vec<usize> = (0..self.sets.len()).filter(|index| self.sets[*index].is_active()).collect();
        match active[..] {
            [] => {
                let latest = self.new.or_else(|| self.sets.len().checked_sub(1));
                if let Some(draft) = latest.map(|latest| &mut self.sets[latest])
                    && draft.replicas() != limits.replicas
                {
                    draft.scale(limits.replicas, &limits);
                }
            }
            [only] => self.sets[only].scale(limits.replicas, &limits),
            _ if self.new.is_some_and(|new| self.is_saturated(&self.sets[new])) => {
                for index in self.old() {
                    if self.sets[index].is_active() {
                        self.sets[index].scale(0, &limits);
                    }
                }
            }
            _ if is_recreate(self.spec) => {}
            _ => self.resize_proportionally(active),
        }
    }

    /// It has all the Deployment's Pods, and all are available.
    fn is_saturated(&self, draft: &Draft) -> bool {
        let replicas = self.limits.replicas;
        draft.replicas() == replicas && draft.desired_replicas() == Some(replicas) && draft.available() == replicas
    }

    /// The largest first, so that it takes what rounding leaves over; of equals, the newer grows and the older shrinks.
    fn resize_proportionally(&mut self, mut active: Vec<usize>) {
        let limits = self.limits;
        let allowed = if limits.replicas > 0 { limits.max_total() } else { 0 };
        let change = allowed - self.total_replicas();
        if change > 0 {
            active.sort_by_key(|index| (Reverse(self.sets[*index].replicas()), Reverse(*index)));
        } else {
            active.sort_by_key(|index| (Reverse(self.sets[*index].replicas()), *index));
        }
        let mut left = change;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for index in &active {
            let share = self.share(&self.sets[*index]);
            let share = if change > 0 { share.min(left) } else { share.max(left) };
            let share = if left == 0 { 0 } else { share };
            left -= share;
            sizes.push(self.sets[*index].replicas() + share);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + left).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.sets[index].scale(size, &limits);
        }
    }

    /// By how much this one changes when all change in proportion.
    fn share(&self, draft: &Draft) -> i32 {
        let size = draft.replicas();
        if self.limits.replicas == 0 {
            return -size;
        }
        let observed = self.deployment.status.as_ref().and_then(|status| status.replicas).filter(|count| *count > 0);
        let Some(before) = draft.max_replicas().or(observed) else { return 0 };
        let scaled = f64::from(size) * f64::from(self.limits.max_total()) / f64::from(before);
        scaled.round() as i32 - size
    }
}

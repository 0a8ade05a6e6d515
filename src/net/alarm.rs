//! Time limits of a worker's waits, checked a few times a second instead of once per wait.
//!
//! A timer per read costs an insertion and a removal for each of them. Here every connection owns
//! one slot in a flat table; a wait lowers the slot's deadline if its own is earlier and leaves it
//! there. The worker has the table scanned every [`TICK`]; what is due is woken, and the woken wait
//! looks at its own deadline: an early wake-up is harmless, a late one is at most one tick late.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Moment;

/// Resolution of every time limit. A limit is kept for at least its time, and at most this longer.
pub const TICK: Duration = Duration::from_millis(100);

/// What a pause of the whole worker counts for at most: a process that was stopped, a core that was
/// taken away. The rest of it is no time that anybody has waited.
///
/// So a wait for at least this long does not end at the first tick after it began, however late
/// that is, and what it waits for has reached the ring by then: a read that is given up before
/// the ring has been told of it is carried out all the same, and what it reads is lost.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Deadline of a slot that nobody waits on.
const NEVER: u32 = u32::MAX;
/// What the clock shows once everything is to end at once.
const CUT: u32 = NEVER - 1;

/// The alarms and the coarse clock of one worker.
#[derive(Clone)]
pub struct Alarms(Rc<Table>);

struct Table {
    /// When the clock began, moved on by what pauses do not count for.
    started: Cell<Instant>,
    /// Ticks since `started`.
    now: Cell<u32>,
    /// The last tick, on the monotonic clock and as time since 1970.
    ticked: Cell<(Moment, Duration)>,
    draining: Cell<bool>,
    /// From when on idle waits end.
    idle_until: Cell<u32>,
    slots: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    deadlines: Vec<u32>,
    wakers: Vec<Option<Waker>>,
    tags: Vec<Tag>,
    free: Vec<u32>,
}

/// What a wait depends on, so that control can end all waits that depend on it: a target that has
/// drained for long enough, a listener that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tag(pub u64);

impl Tag {
    /// Depends on nothing.
    pub const NONE: Self = Self(0);
    /// Depended on something that is over: every wait ends at once.
    const CUT: Self = Self(u64::MAX);
}

/// One connection's slot. At most one task may wait on it; that task may wait for several things.
pub struct Alarm {
    table: Rc<Table>,
    slot: u32,
}

impl Alarms {
    /// An empty table whose clock starts here.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "reads the clock")]
    pub fn new() -> Self {
        let started = Instant::now();
        let table = Table {
            started: Cell::new(started),
            now: Cell::new(0),
            ticked: Cell::new((Moment::now(), Duration::ZERO)),
            draining: Cell::new(false),
            idle_until: Cell::new(NEVER),
            slots: RefCell::default(),
        };
        let alarms = Self(Rc::new(table));
        alarms.tick();
        alarms
    }

    /// A slot for a new connection.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        let mut slots = self.0.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.deadlines.push(NEVER);
            slots.wakers.push(None);
            slots.tags.push(Tag::NONE);
            (slots.deadlines.len() - 1) as u32
        });
        Alarm { table: self.0.clone(), slot }
    }

    /// Brings the clock up to date and wakes what is due. To be called every [`TICK`].
    pub fn tick(&self) {
        if self.0.now.get() < CUT {
            self.0.go_on(Instant::now());
        }
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        self.0.ticked.set((Moment::now(), epoch.unwrap_or_default()));
        let now = self.0.now.get();
        let idle_ends = now >= self.0.idle_until.get();
        self.wake(|deadline| deadline <= now || (idle_ends && deadline != NEVER));
    }

    /// Ends every wait that is marked as idle, once `grace` has passed and from then on.
    pub fn drain(&self, grace: Duration) {
        self.0.draining.set(true);
        self.0.idle_until.set(match grace.is_zero() {
            true => 0,
            false => self.0.deadline(grace),
        });
        if grace.is_zero() {
            self.wake(|deadline| deadline != NEVER);
        }
    }

    /// Whether [`Alarms::drain`] has been called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    /// Ends every wait, now and from now on, as if its time had passed.
    pub fn cut(&self) {
        self.0.now.set(CUT);
        self.wake(|deadline| deadline != NEVER);
    }

    /// Whether [`Alarms::cut`] has been called.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.now() == CUT
    }

    /// Ends every wait that depends on one of `tags`, now and until its alarm is tagged anew.
    pub fn cut_tagged(&self, tags: &[Tag]) {
        self.cut_where(|tag| tags.contains(&tag));
    }

    /// Ends every wait with a tag that is `over`, now and until its alarm is tagged anew.
    pub fn cut_where(&self, over: impl Fn(Tag) -> bool) {
        let mut slots = self.0.slots.borrow_mut();
        let Slots { deadlines, wakers, tags: known, .. } = &mut *slots;
        for (slot, tag) in known.iter_mut().enumerate() {
            if *tag != Tag::NONE && *tag != Tag::CUT && over(*tag) {
                *tag = Tag::CUT;
                deadlines[slot] = NEVER;
                if let Some(waker) = wakers[slot].take() {
                    waker.wake();
                }
            }
        }
    }

    /// Ticks since the worker started.
    #[must_use]
    pub fn now(&self) -> u32 {
        self.0.now.get()
    }

    /// Seconds since 1970, at most one tick old.
    #[must_use]
    pub fn epoch_seconds(&self) -> u64 {
        self.0.ticked.get().1.as_secs()
    }

    /// `moment` as time since 1970, by how the two clocks stood at the last tick.
    #[must_use]
    pub fn since_epoch(&self, moment: Moment) -> Duration {
        let (ticked, epoch) = self.0.ticked.get();
        (epoch + moment.since(ticked)).saturating_sub(ticked.since(moment))
    }

    fn wake(&self, due: impl Fn(u32) -> bool) {
        let mut slots = self.0.slots.borrow_mut();
        let Slots { deadlines, wakers, .. } = &mut *slots;
        for (deadline, waker) in deadlines.iter_mut().zip(wakers) {
            if due(*deadline) {
                *deadline = NEVER;
                // Waking only queues the task, so the table is not entered again from here.
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

impl Table {
    /// Brings the clock up to `instant`.
    fn go_on(&self, instant: Instant) {
        let shown = self.started.get() + TICK.saturating_mul(self.now.get());
        let pause = instant.saturating_duration_since(shown);
        self.started.set(self.started.get() + pause.saturating_sub(PAUSE_MAX));
        let ticks = instant.saturating_duration_since(self.started.get()).as_millis();
        let ticks = u32::try_from(ticks / TICK.as_millis()).unwrap_or(CUT);
        self.now.set(ticks.clamp(self.now.get(), CUT));
    }

    /// What the clock will show once `limit` has passed.
    fn deadline(&self, limit: Duration) -> u32 {
        let ticks = limit.as_millis().div_ceil(TICK.as_millis()) + 1;
        self.now.get().saturating_add(u32::try_from(ticks).unwrap_or(CUT)).min(CUT)
    }
}

impl Alarm {
    /// Waits for `future` for at most `limit`; `None` when the time has passed first, and then
    /// `future` is dropped with whatever it was doing.
    pub fn within<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> {
        self.wait(self.deadline(limit), false, future)
    }

    /// As [`Alarm::within`], and also `None` once the worker drains and its grace is over.
    pub fn idle<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> {
        self.wait(self.deadline(limit), true, future)
    }

    /// Waits for `future` until the clock shows `deadline`.
    pub fn until<F: Future>(
        &self,
        deadline: u32,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> {
        self.wait(deadline, false, future)
    }

    /// Says what the waits from now on depend on.
    pub fn tag(&self, tag: Tag) {
        self.table.slots.borrow_mut().tags[self.slot as usize] = tag;
    }

    /// Whether what the waits depend on is over.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.table.slots.borrow().tags[self.slot as usize] == Tag::CUT
    }

    /// What the clock will show once `limit` has passed.
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> u32 {
        self.table.deadline(limit)
    }

    /// Ticks since the worker started.
    #[must_use]
    pub fn now(&self) -> u32 {
        self.table.now.get()
    }

    fn wait<F: Future>(&self, deadline: u32, idle: bool, future: F) -> Wait<'_, F> {
        Wait { alarm: self, deadline, idle, future }
    }

    /// Sees to it that the task is woken by `deadline`; `false` when the wait is over already.
    fn arm(&self, waker: &Waker, deadline: u32) -> bool {
        let mut slots = self.table.slots.borrow_mut();
        let Slots { deadlines, wakers, tags, .. } = &mut *slots;
        let slot = self.slot as usize;
        if tags[slot] == Tag::CUT {
            return false;
        }
        deadlines[slot] = deadlines[slot].min(deadline);
        match &wakers[slot] {
            Some(known) if known.will_wake(waker) => {}
            _ => wakers[slot] = Some(waker.clone()),
        }
        true
    }
}

/// A future with a deadline. Written out because an async function would hold the future twice.
struct Wait<'a, F> {
    alarm: &'a Alarm,
    deadline: u32,
    idle: bool,
    future: F,
}

impl<F: Future> Future for Wait<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (alarm, deadline, idle) = (self.alarm, self.deadline, self.idle);
        // SAFETY: `future` is pinned whenever `self` is: it is never moved out, and neither a
        // `Drop` nor an `Unpin` of this type says otherwise.
        let future = unsafe { self.map_unchecked_mut(|wait| &mut wait.future) };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        let table = &alarm.table;
        if table.now.get() >= deadline || (idle && table.now.get() >= table.idle_until.get()) {
            return Poll::Ready(None);
        }
        match alarm.arm(cx.waker(), deadline) {
            true => Poll::Pending,
            false => Poll::Ready(None),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut slots = self.table.slots.borrow_mut();
        slots.deadlines[self.slot as usize] = NEVER;
        slots.tags[self.slot as usize] = Tag::NONE;
        let waker = slots.wakers[self.slot as usize].take();
        slots.free.push(self.slot);
        drop(slots);
        // Last: a waker may own the task that is being dropped.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn wait_ends_when_its_own_deadline_has_passed() {
        let alarms = Alarms::new();
        let alarm = alarms.alarm();
        let mut wait = pin!(alarm.within(Duration::from_millis(200), std::future::pending::<()>()));
        assert!(poll_once(wait.as_mut()).is_pending());
        alarms.0.now.set(2);
        assert!(poll_once(wait.as_mut()).is_pending(), "kept for at least its time");
        alarms.0.now.set(3);
        assert_eq!(poll_once(wait.as_mut()), Poll::Ready(None));
    }

    #[test]
    fn draining_ends_idle_waits_only() {
        let alarms = Alarms::new();
        let (idle, busy) = (alarms.alarm(), alarms.alarm());
        let limit = Duration::from_secs(5);
        let mut idle = pin!(idle.idle(limit, std::future::pending::<()>()));
        let mut busy = pin!(busy.within(limit, std::future::pending::<()>()));
        alarms.drain(Duration::ZERO);
        assert_eq!(poll_once(idle.as_mut()), Poll::Ready(None));
        assert!(poll_once(busy.as_mut()).is_pending());
        alarms.cut();
        assert_eq!(poll_once(busy.as_mut()), Poll::Ready(None));
    }

    #[test]
    fn draining_with_a_grace_ends_idle_waits_when_it_is_over() {
        let alarms = Alarms::new();
        let alarm = alarms.alarm();
        let mut idle = pin!(alarm.idle(Duration::from_secs(5), std::future::pending::<()>()));
        assert!(poll_once(idle.as_mut()).is_pending());
        alarms.drain(Duration::from_millis(200));
        assert!(alarms.is_draining());
        alarms.0.now.set(2);
        assert!(poll_once(idle.as_mut()).is_pending());
        alarms.0.now.set(3);
        assert_eq!(poll_once(idle.as_mut()), Poll::Ready(None));
    }

    #[test]
    fn cutting_a_tag_ends_the_waits_that_depend_on_it() {
        let alarms = Alarms::new();
        let (one, other) = (alarms.alarm(), alarms.alarm());
        one.tag(Tag(7));
        other.tag(Tag(8));
        let limit = Duration::from_secs(5);
        let mut cut = pin!(one.within(limit, std::future::pending::<()>()));
        let mut kept = pin!(other.within(limit, std::future::pending::<()>()));
        assert!(poll_once(cut.as_mut()).is_pending());
        alarms.cut_tagged(&[Tag(7)]);
        assert_eq!(poll_once(cut.as_mut()), Poll::Ready(None));
        assert!(one.is_cut());
        assert!(poll_once(kept.as_mut()).is_pending());
        one.tag(Tag::NONE);
        let mut again = pin!(one.within(limit, std::future::pending::<()>()));
        assert!(poll_once(again.as_mut()).is_pending());
    }

    #[test]
    fn wait_of_a_second_outlives_the_first_tick_after_a_pause() {
        let alarms = Alarms::new();
        let alarm = alarms.alarm();
        let mut wait = pin!(alarm.within(PAUSE_MAX, std::future::pending::<()>()));
        assert!(poll_once(wait.as_mut()).is_pending());
        let began = alarms.0.started.get();
        alarms.0.go_on(began + Duration::from_secs(3600));
        assert!(poll_once(wait.as_mut()).is_pending(), "the clock shows {}", alarms.now());
        assert_eq!(alarms.now(), 10);
        // The rest of the pause is forgotten: the clock goes on as ever.
        alarms.0.go_on(began + Duration::from_secs(3600) + TICK);
        assert_eq!(alarms.now(), 11);
        assert!(poll_once(wait.as_mut()).is_ready());
    }

    #[test]
    fn moments_are_told_as_time_since_1970() {
        let alarms = Alarms::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let told = alarms.since_epoch(Moment::now());
        assert!(told.abs_diff(now) < Duration::from_secs(5), "{told:?} {now:?}");
        let (tick, epoch) = alarms.0.ticked.get();
        let second = Duration::from_secs(1);
        let later = tick.after(second);
        assert_eq!(alarms.since_epoch(later), epoch + second);
        alarms.0.ticked.set((later, epoch));
        assert_eq!(alarms.since_epoch(tick), epoch - second);
    }

    #[test]
    fn slots_are_used_again() {
        let alarms = Alarms::new();
        let first = alarms.alarm();
        let slot = first.slot;
        drop(first);
        assert_eq!(alarms.alarm().slot, slot);
    }
}

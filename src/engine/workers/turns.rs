//! A task's turns. A runtime gives its tasks their turns one after the other: one that does not end its own keeps all the
//! others from going on. So each ring leaves word of whether a task has its turn and of the step it is at, and the
//! progress task, which runs elsewhere, looks at these words (stall.rs). Two plain stores a turn, and one a step, are all
//! that costs. With `--stats` and `--trace` turns are timed as well (io/metrics.rs).

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::engine::primitives::heartbeat::Heartbeat;
use crate::engine::run::lane::Lane;
use crate::event::metrics::Stage;

/// A turn, until it is dropped: a panic ends it as well.
struct Turn<'a>(&'a Heartbeat);

impl<'a> Turn<'a> {
    fn new(heartbeat: &'a Heartbeat) -> Self {
        heartbeat.say(heartbeat.word().turn());
        Turn(heartbeat)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.say(self.0.word().rest());
    }
}

/// What a task does, turn by turn.
pub(crate) struct Turns<F> {
    lane: Rc<Lane>,
    task: u32,
    stage: Stage,
    work: Pin<Box<F>>,
}

impl<F: Future> Turns<F> {
    /// The `work` of a ring's task of this number.
    pub(crate) fn new(lane: Rc<Lane>, task: usize, work: F) -> Self {
        Turns { lane, task: task as u32, stage: Stage::Other, work: Box::pin(work) }
    }
}

impl<F: Future> Future for Turns<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Turns { lane, task, stage, work } = &mut *self;
        let _turn = Turn::new(lane.heartbeat());
        if let Some(gauge) = &lane.gauge {
            gauge.turn_begins(*task, *stage);
        }
        let polled = work.as_mut().poll(context);
        if let Some(gauge) = &lane.gauge {
            *stage = gauge.turn_ends();
        }
        if polled.is_pending() {
            lane.task_waits();
        }
        polled
    }
}

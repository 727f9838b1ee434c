//! Threads with a ring each. A thread sets up its ring once, and says how that went before the run begins. Nothing is set up
//! only to see whether it can be: a ring that is closed gives its locked memory back at a later time, which then is what the
//! next one lacks. A thread without a ring does its share with plain system calls.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use tokio_uring::Runtime;

use crate::error::{Context, Operation, Result};
use crate::io::ring::Control;

/// What a thread is for. It is given its runtime, if there is one, and sees to its end.
type Body = Box<dyn FnOnce(Option<Runtime>) + Send>;

/// A thread that waits for its work. Without any it ends.
pub(crate) struct RingThread {
    work: Sender<Body>,
    thread: JoinHandle<()>,
}

impl RingThread {
    /// Has the thread do its work, after which it ends.
    pub(crate) fn begin(self, work: impl FnOnce(Option<Runtime>) + Send + 'static) -> JoinHandle<()> {
        // It waits for this as long as there is someone to send it.
        self.work.send(Box::new(work)).ok();
        self.thread
    }
}

/// The threads, how many of them have a ring, and why the others have none.
#[derive(Default)]
pub(crate) struct RingThreads {
    pub(crate) threads: Vec<RingThread>,
    pub(crate) rings: usize,
    pub(crate) refusal: Option<io::Error>,
}

impl RingThreads {
    /// Starts this number of threads, and waits until each has set up its ring, or could not.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(crate) fn start(name: &str, count: usize) -> Result<Self> {
        let control = match Control::new() {
            Ok(control) => Arc::new(control),
            Err(why) => return Ok(RingThreads { refusal: Some(why), ..RingThreads::default() }),
        };
        let (said, answers) = channel();
        let start = |_| start(name, control.clone(), said.clone());
        let threads = (0..count).map(start).collect::<Result<Vec<_>>>()?;
        drop(said);
        let mut started = RingThreads { threads, ..RingThreads::default() };
        for answer in answers {
            match answer {
                Ok(()) => started.rings += 1,
                Err(why) => started.refusal = Some(why),
            }
        }
        Ok(started)
    }
}

fn start(name: &str, control: Arc<Control>, said: Sender<io::Result<()>>) -> Result<RingThread> {
    let (work, waiting): (_, Receiver<Body>) = channel();
    let body = move || {
        let (runtime, answer) = match control.runtime() {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(why) => (None, Err(why)),
        };
        drop(control);
        said.send(answer).ok();
        drop(said);
        if let Ok(work) = waiting.recv() {
            work(runtime);
        }
    };
    let thread =
        thread::Builder::new().name(name.into()).spawn(body).at(Operation::StartEngine, || "threads")?;
    Ok(RingThread { work, thread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_in_the_thread_that_made_the_ring() {
        let started = RingThreads::start("ring", 3).unwrap();
        let has_rings = started.refusal.is_none();
        assert_eq!(started.rings, if has_rings { 3 } else { 0 });
        let (sender, receiver) = channel();
        for thread in started.threads {
            let (sender, wanted) = (sender.clone(), thread.thread.thread().id());
            let work = move |runtime: Option<Runtime>| {
                sender.send((runtime.is_some(), thread::current().id() == wanted)).unwrap();
            };
            thread.begin(work).join().unwrap();
        }
        drop(sender);
        assert!(receiver.iter().all(|told| told == (has_rings, true)));
    }

    #[test]
    fn a_thread_without_work_ends() {
        for RingThread { work, thread } in RingThreads::start("ring", 2).unwrap().threads {
            drop(work);
            thread.join().unwrap();
        }
    }
}

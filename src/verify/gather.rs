//! Gathering: counts the news as it arrives and hands it to the reporter.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use tokio::runtime::Runtime;

use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::FirstErrors;
use crate::stop::Stop;
use crate::verify::Verdict;
use crate::verify::report::{News, VerifyReporter, VerifyStart, VerifySummary, VerifyTotals};
use crate::verify::verification::Verification;

/// After a stop, what is in flight has this long to end. With the rest it stays below two seconds.
const GRACE: Duration = Duration::from_millis(1500);

/// The counts of a run, and the reporter that is told.
pub(super) struct Gathering<'a> {
    runtime: Rc<Runtime>,
    reporter: &'a mut dyn VerifyReporter,
    /// The caller's flag.
    stop: &'a Stop,
    verification: Arc<Verification>,
    begun: Instant,
    totals: VerifyTotals,
    outcome: Outcome,
    errors: FirstErrors,
    stuck: bool,
}

impl<'a> Gathering<'a> {
    pub(super) fn begin(
        reporter: &'a mut dyn VerifyReporter,
        stop: &'a Stop,
        verification: &Arc<Verification>,
        start: &VerifyStart,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = Rc::new(runtime.at(Operation::StartEngine, || "")?);
        reporter.start(start);
        Ok(Gathering {
            runtime,
            reporter,
            stop,
            verification: verification.clone(),
            begun: Instant::now(),
            totals: VerifyTotals::default(),
            outcome: Outcome::Done,
            errors: FirstErrors::default(),
            stuck: false,
        })
    }

    /// Gathers until every thread has let go of the channel, or does not come back after a stop.
    pub(super) fn gather(&mut self, news: &Receiver<Vec<News>>) {
        let (stop, verification) = (self.stop.clone(), self.verification.clone());
        let out_of_time = async move {
            tokio::select! {
                () = stop.stopped() => verification.abandon(),
                () = verification.stop.stopped() => {}
            }
            tokio::time::sleep(GRACE).await;
        };
        let runtime = self.runtime.clone();
        let all = async {
            while let Ok(message) = news.recv().await {
                self.take(message);
            }
        };
        let stuck = runtime.block_on(async {
            tokio::select! {
                biased;
                () = all => false,
                () = out_of_time => true,
            }
        });
        self.stuck |= stuck;
    }

    /// Takes note of an error that is no file's.
    pub(super) fn fail(&mut self, error: Error) {
        self.take(vec![News::Failed(error)]);
    }

    /// Waits for threads that have nothing more to tell, unless they hang.
    pub(super) fn join(&self, threads: Vec<JoinHandle<()>>) {
        if !self.stuck {
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
    }

    pub(super) fn finish(mut self) -> VerifySummary {
        if self.stop.is_stopped() {
            self.outcome = self.outcome.max(Outcome::Interrupted);
        }
        self.update();
        self.stuck |= self.verification.patience.has_left_behind();
        let (outcome, totals, stuck) = (self.outcome, self.totals, self.stuck);
        let summary = VerifySummary { outcome, totals, stuck, errors: self.errors.into_inner() };
        self.reporter.finish(&summary);
        summary
    }

    fn take(&mut self, message: Vec<News>) {
        for news in message {
            self.take_one(news);
        }
        self.update();
        self.reporter.progress(&self.totals);
    }

    fn take_one(&mut self, news: News) {
        match news {
            News::File { path, verdict, bytes } => {
                self.totals.bytes += bytes;
                self.totals.add(&verdict);
                self.outcome = self.outcome.max(match &verdict {
                    Verdict::Right => Outcome::Done,
                    Verdict::Failed(Cause::TimedOut(_)) => Outcome::TimedOut,
                    _ => Outcome::Failed,
                });
                self.reporter.file(&path, &verdict);
                if let Verdict::Failed(cause) = verdict {
                    self.errors.keep(Error::new(Operation::Verify, path, cause));
                }
            }
            News::Bytes(bytes) => self.totals.bytes += bytes,
            News::Malformed { line, why } => {
                self.totals.malformed += 1;
                self.outcome = self.outcome.max(Outcome::Failed);
                self.reporter.malformed(line, why);
            }
            News::Failed(error) => {
                self.totals.errors += 1;
                self.outcome = self.outcome.max(error.outcome().max(Outcome::Failed));
                self.reporter.error(&error);
                self.errors.keep(error);
            }
        }
    }

    fn update(&mut self) {
        self.totals.listed = self.verification.listed.load(Ordering::Relaxed);
        self.totals.complete = self.verification.complete.load(Ordering::Relaxed);
        self.totals.elapsed = self.begun.elapsed();
    }
}

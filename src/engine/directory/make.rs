//! Opening a directory of both trees: what it is in the source, what is there in the destination, and the new one that is
//! made where there is none. Before anything is put there it is known who else could have put it where it is, and it
//! grants nobody more than its source.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::backup::Old;
use crate::engine::directory::merge;
use crate::engine::directory::open::open_destination;
use crate::engine::own::writable::writable;
use crate::engine::own::{directory, litter, refused, shed};
use crate::engine::run::blocking::in_thread;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::{Origin, Pair, SourceDirectory, opens_up};
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::metrics::Call;
use crate::event::{Event, Kind};
use crate::io::file::lies_on_program;
use crate::io::rename::replace;
use crate::io::temporary::{MARKED, is_marked};
use crate::metadata::xattr::{self, Holder};
use crate::metadata::{self, HeldInode};
use crate::plan::compare::Difference;
use crate::plan::narrow::is_exposed;
use crate::plan::skip::leaves_name;
use crate::plan::writers::{Writers, was_taken};
use crate::stat::{Stat, proc_path, stat_open};

impl Origin {
    /// Finds out who else could have put a directory, which is there already and has this stat, where it is. Who put it
    /// there matters only if this run would open it, or one above it, to more users.
    pub(crate) fn judge(
        &mut self,
        parent: &Pair,
        (source, mirror): (&SourceDirectory, &OwnedFd),
        stat: &Stat,
        run: &Run,
    ) {
        let own = Writers::of(stat, run.rules.privileges.user);
        self.writers = parent.writers.below(own).below(source.writers);
        self.taken = was_taken(stat, &source.stat);
        let want = (&source.stat, source.xattrs.as_ref());
        // What can't be known of its ACL is judged as if it were another one.
        let opens = || opens_up(mirror, stat, want, &run.rules).unwrap_or(true);
        self.planted = self.taken || parent.planted || parent.writers.could_plant(stat) && opens();
    }
}

/// How a directory of the destination came to be.
enum Made {
    /// It is ours, under this temporary name if it has one.
    New(Option<CString>),
    /// Somebody else made it in this moment.
    Found,
}

impl Directory {
    /// Opens both, and makes the one in the destination, when no other name that may be the same one there is at work.
    /// `None`: it is to be left as it is there.
    pub(crate) async fn make_pair(&self, parent: &Pair, lane: &Lane) -> Result<Option<Pair>> {
        let turn = match &self.parent {
            Some(above) => above.take_turn(parent, &self.name, lane).await?,
            None => None,
        };
        if refused::is_doubtful(parent, &self.name) {
            self.leaf.store(false, Ordering::Relaxed); // under its own name it fails before anything is in it
        }
        if turn.is_none() {
            return self.make_pair_or_explain(parent, lane).await;
        }
        self.leaf.store(false, Ordering::Relaxed); // the others are to see it under its own name
        let made = self.make_pair_or_explain(parent, lane).await;
        if let Some(watched) = lane.watched() {
            watched.unmark_awaited();
        }
        made
    }

    async fn make_pair_or_explain(&self, parent: &Pair, lane: &Lane) -> Result<Option<Pair>> {
        let made = self.make_pair_now(parent, lane).await;
        made.map_err(|error| refused::explain(error, Kind::Directory, (parent, &self.name)))
    }

    async fn make_pair_now(&self, parent: &Pair, lane: &Lane) -> Result<Option<Pair>> {
        let run = &lane.run;
        let path = || run.destination_path(&self.path());
        lane.doing(Operation::StatDestination);
        let existing = match &parent.destination {
            Some(within) if !parent.fresh => {
                lane.io.stat(within, &self.name).await.at(Operation::StatDestination, path)?
            }
            _ => None,
        };
        if existing.is_some() {
            parent.count_compared();
        }
        let led = match existing {
            Some(Stat { kind: Kind::Symlink, .. }) if run.config.symlinks.keep_directory_links => {
                self.kept_link(parent, run).at(Operation::OpenDestination, path)?
            }
            _ => None,
        };
        let existing = led.as_ref().map(|led| led.stat).or(existing);
        if leaves_name(Kind::Directory, existing.as_ref(), &run.rules.compare) {
            self.mark_doubtful();
            return Ok(None);
        }
        lane.doing(Operation::OpenSource);
        let source = self.open_source(parent, lane).await.inspect_err(|error| {
            if error.outcome() == Outcome::Vanished && existing.is_some() {
                parent.uncount_compared(); // the source has it no more
                run.deletions.protect_vanished(self.path());
            }
        })?;
        lane.doing(Operation::OpenDestination);
        let Some(within) = &parent.destination else {
            return Ok(Some(Pair::new(source, None, Origin::default())));
        };
        let mut origin = Origin::default();
        origin.existing = existing.filter(|existing| existing.kind == Kind::Directory);
        origin.replaced = existing.is_some() && origin.existing.is_none();
        if origin.existing.is_none() {
            if !run.config.writes() {
                return Ok(Some(Pair::new(source, None, origin)));
            }
            self.make_mirror(parent, existing.is_none(), &mut origin, lane).await?;
        }
        let name = origin.provisional.as_ref().unwrap_or(&self.name);
        let opened = match led {
            Some(led) => open_destination(lane, &Arc::new(led.fd), c".").await,
            None => open_destination(lane, within, name).await,
        };
        if origin.provisional.is_some() && !merge::holds(&opened, within, name) {
            // Another run has taken it for litter before it was locked: this time it is made under its own name.
            self.leaf.store(false, Ordering::Relaxed);
            parent.uncount_compared();
            return Box::pin(self.make_pair_now(parent, lane)).await;
        }
        let (mirror, changed) = opened.at(Operation::OpenDestination, path)?;
        self.close_mirror(parent, source, (Arc::new(mirror), changed), origin, lane).await.map(Some)
    }

    /// Makes the directory in the destination, where there `is_nothing`, or something else.
    async fn make_mirror(
        &self,
        parent: &Pair,
        is_nothing: bool,
        origin: &mut Origin,
        lane: &Lane,
    ) -> Result<()> {
        let run = &lane.run;
        match lane.io.in_place(Call::Create, || self.make(parent, origin.replaced, run))? {
            Made::New(provisional) => {
                if is_nothing {
                    parent.count_compared();
                }
                (origin.provisional, origin.private) = (provisional, true);
            }
            Made::Found => {
                // It appeared meanwhile: whatever it has, it has from others.
                let path = || run.destination_path(&self.path());
                let within = parent.destination.as_ref().ok_or(Errno::NOENT);
                let within = within.at(Operation::StatDestination, path)?;
                let found = lane.io.stat(within, &self.name).await.at(Operation::StatDestination, path)?;
                if is_nothing && found.is_some() {
                    parent.count_compared();
                }
                origin.existing = found.filter(|found| found.kind == Kind::Directory);
            }
        }
        Ok(())
    }

    /// Finds out whose the directory in the destination is, which is open, and takes from it what the source does not grant
    /// before anything is put there.
    async fn close_mirror(
        &self,
        parent: &Pair,
        mut source: SourceDirectory,
        (mirror, changed): (Arc<OwnedFd>, bool),
        mut origin: Origin,
        lane: &Lane,
    ) -> Result<Pair> {
        let run = &lane.run;
        let path = || run.destination_path(&self.path());
        let stat = stat_open(&mirror).at(Operation::StatDestination, path)?;
        if origin.existing.is_none() {
            match self.require_own(&mirror, &stat, (parent, run), &mut origin) {
                // Another run has found it and put something in it, or somebody has exchanged it: it is theirs.
                Err(Cause::DirectoryReplaced) if origin.provisional.is_none() => {
                    (origin.existing, origin.private) = (Some(stat), false);
                }
                own => own.at(Operation::OpenDestination, path)?,
            }
        }
        if let Some(existing) = &mut origin.existing {
            // Another one may have got its name since it was looked up.
            if existing.inode != stat.inode {
                *existing = stat;
            }
            source.require_owner((&mirror, &stat), run, path)?;
            let planted = parent.planted || parent.writers.could_plant(&stat);
            source.keep_mode((&mirror, &stat), planted, run);
            let (holder, want) = (Holder::Link(proc_path(&mirror)), &mut source.stat);
            let faithful = run.file_systems.of(&mirror, &stat).is_faithful;
            if let Some(lack) = shed::keep_mask((want, &stat), (&holder, faithful), run, path) {
                run.report(Event::Failed(lack)).await;
            }
            origin.judge(parent, (&source, &mirror), &stat, run);
        } else {
            origin.sheds_acl = parent.sheds_inherited_acl(run);
            source.inherit_setgid(&stat, run);
        }
        let mut narrowed = Difference::default();
        if !origin.private {
            (narrowed, origin.exposed) = source.narrow(&mirror, &stat, run, path)?;
        }
        if origin.existing.is_some() {
            origin.taken |= narrowed.owner.is_some();
            origin.sheds_acl = origin.taken && !run.rules.keep.acls;
        }
        origin.file_system = run.file_systems.of(&mirror, &stat);
        if origin.sheds_acl && run.config.writes() {
            let acl = shed::acls(HeldInode::Open(mirror.as_fd()), &origin.file_system, path)?;
            source.stat = shed::tight(source.stat, acl.as_ref());
            origin.acl_stays = acl.is_some();
            if let Some(lack) = acl {
                run.report(Event::Failed(lack)).await;
            }
        }
        if origin.existing.is_some() && run.config.fsync {
            run.file_systems.add(&mirror, &stat);
        }
        if origin.existing.is_some() && run.heeds_kept_rules() && run.config.select.has_files() {
            self.read_kept(&mirror, lane).await;
        }
        let pair = Pair::new(source, Some(mirror), origin);
        pair.touched.store(changed || !narrowed.is_empty(), Ordering::Relaxed);
        pair.remove_litter(run);
        Ok(pair)
    }

    /// Requires that a directory which was made a moment ago is our own. Where modes are not kept it has no mark, by which
    /// the next run would know it: then it gets its own name at once.
    fn require_own(
        &self,
        made: &OwnedFd,
        stat: &Stat,
        (parent, run): (&Pair, &Run),
        origin: &mut Origin,
    ) -> Result<(), Cause> {
        let within = parent.destination.as_ref().ok_or(Errno::NOENT)?;
        match directory::require(within, made, stat, run) {
            Err(Errno::STALE) => return Err(Cause::DirectoryReplaced),
            own => own?,
        }
        origin.writers = Writers::Nobody;
        if is_marked(stat) {
            return Ok(());
        }
        origin.private = false;
        if let Some(provisional) = origin.provisional.take() {
            rustix::fs::renameat(within, &provisional, within, &self.name)?;
        }
        Ok(())
    }

    /// Reads the rules that its mirror has itself. Where they can't be read, nothing is known to be deletable.
    async fn read_kept(&self, destination: &Arc<OwnedFd>, lane: &Lane) {
        let Some(above) = self.parent.as_ref().and_then(|parent| parent.kept.get()).cloned() else { return };
        let (name, fd) = (self.name.clone(), destination.clone());
        match in_thread(lane, move |_| above.enter(&name, &fd)).await {
            Ok(scope) => self.set_kept(scope),
            Err(error) => {
                lane.run.deletions.protect(self.path());
                lane.run.report(Event::Failed(error)).await;
            }
        }
    }

    async fn open_source(&self, parent: &Pair, lane: &Lane) -> Result<SourceDirectory> {
        let run = &lane.run;
        let path = || run.source_path(&self.path());
        let fd = match self.take_lent(run) {
            Some(fd) => fd,
            None => Arc::new(self.hold_source(parent, lane).await.at(Operation::OpenSource, path)?),
        };
        let stat = stat_open(&fd).at(Operation::StatSource, path)?;
        let writers = Writers::of(&stat, run.rules.privileges.user);
        let holder = Holder::Link(proc_path(&fd));
        let mut stat = metadata::adopt(stat, &holder, (&run.rules, parent.allowed(run)), path)?;
        let xattrs = if run.rules.keep.attributes() {
            let holder = match self.followed.load(Ordering::Relaxed) {
                false => Holder::Name(parent.source.as_fd(), &self.name),
                true => Holder::Link(proc_path(&fd)),
            };
            let xattrs = xattr::read_source(&holder, &stat, &run.rules, path)?;
            if xattrs.hides_acl() {
                stat.mode = metadata::closed_to_others(stat.mode);
            }
            Some(xattrs)
        } else {
            None
        };
        let (stat, xattrs) = match parent.exposed {
            true => shed::closed(stat, xattrs, true),
            false => (stat, xattrs),
        };
        Ok(SourceDirectory { fd, stat, writers, xattrs })
    }

    /// Makes the directory in the destination, in the place of something else if `taken`. One that is done in a single
    /// batch is provisional: it gets a temporary name, and its own when it is done. Its files then need
    /// no more than to be made, which is a tenth faster than making them nameless (docs/performance.md).
    fn make(&self, parent: &Pair, taken: bool, run: &Run) -> Result<Made> {
        let path = || run.destination_path(&self.path());
        let within = parent.changing().at(Operation::Create, path)?;
        let is_provisional =
            self.leaf.load(Ordering::Relaxed) && run.config.makes_provisional_directories() && !taken;
        let temporary = (is_provisional || taken).then(|| run.temporary.new_name(within)).transpose();
        let temporary = match temporary {
            Err(Errno::PERM) if !taken => None, // what is there can't be renamed
            temporary => temporary.at(Operation::Create, path)?,
        };
        let name = temporary.as_ref().unwrap_or(&self.name);
        // Nobody else's until it is whole.
        match writable(within, run, || rustix::fs::mkdirat(within, name, MARKED)) {
            Ok(()) => {}
            Err(Errno::EXIST) if temporary.is_none() => return Ok(Made::Found),
            Err(errno) => return Err(errno).at(Operation::Create, path),
        }
        if let Some(temporary) = temporary.as_ref().filter(|_| taken) {
            // What is in the way goes only now that its successor is there.
            // Its backup may have to be copied to another file system, which holds up this thread: that is rare.
            let directory = self.parent.as_ref().map(|parent| parent.path()).unwrap_or_default();
            let (lies_at, source) = (directory.as_path(), Some(&*parent.source));
            let (directory, name, expected, watched) = (directory.as_path(), &*self.name, None, None);
            Old { run, within, directory, lies_at, source, name, expected, watched }
                .keep()
                .and_then(|()| {
                    replace((within, temporary), (within, name), AtFlags::empty()).at(Operation::Rename, path)
                })
                .inspect_err(|_| litter::remove_directory(within, temporary, run))?;
            return Ok(Made::New(None));
        }
        Ok(Made::New(temporary))
    }
}

impl SourceDirectory {
    /// Requires, where owners are left alone, that its mirror, which has `have`, belongs to nobody who may not read what the
    /// source closes to others. DST's own owner is trusted; and where all that we make belongs to this owner as well, nothing
    /// can be done about it.
    pub(crate) fn require_owner(
        &self,
        (mirror, have): (&OwnedFd, &Stat),
        run: &Run,
        path: impl FnOnce() -> PathBuf,
    ) -> Result<()> {
        let is_open = self.stat.mode & 0o007 != 0;
        let is_known = [0, run.rules.privileges.user, self.stat.uid].contains(&have.uid);
        if run.rules.keep.owner || !run.config.writes() || is_open || is_known {
            return Ok(());
        }
        let named = run.roots.destination.fd.as_ref().and_then(|root| stat_open(root).ok());
        let is_named = named.is_some_and(|root| root.uid == have.uid);
        if is_named || directory::owner_of_new(mirror, run) == Ok(have.uid) {
            return Ok(());
        }
        let why = "it is another user's, who could read what SRC closes to others: give it to SRC's owner, or to yourself";
        Err(Error::new(Operation::OpenDestination, path(), Cause::Refused(why.into())))
    }

    /// Takes from its mirror, which has `have`, what the source does not grant. Returns what was set, and whether it stays open
    /// to more users all the same: where that is refused the error comes when it is done. But nothing that the source closes to
    /// others is put into another user's directory; SRC's owner is none, and neither is root. Where owners and modes are not kept at all, a
    /// directory belongs to whom our new files belong to.
    pub(crate) fn narrow(
        &self,
        mirror: &OwnedFd,
        have: &Stat,
        run: &Run,
        path: impl Fn() -> PathBuf + Copy,
    ) -> Result<(Difference, bool)> {
        if !run.config.writes() {
            return Ok((Difference::default(), false));
        }
        let is_refusal = |errno| metadata::is_refusal(errno) || errno == Errno::IO && lies_on_program(mirror);
        match metadata::narrow(
            HeldInode::Open(mirror.as_fd()),
            &self.stat,
            have,
            self.xattrs.as_ref(),
            &run.rules,
            path,
        ) {
            Err(error) if error.errno().is_some_and(is_refusal) => {
                let is_open = self.stat.mode & 0o007 != 0;
                // Root could get at it anyway.
                let is_trusted = have.uid == self.stat.uid || have.uid == 0;
                match is_open || is_trusted || directory::owner_of_new(mirror, run) == Ok(have.uid) {
                    true => Ok((Difference::default(), self.is_exposed(mirror, have, run))),
                    false => Err(error),
                }
            }
            narrowed => narrowed.map(|narrowed| (narrowed, false)),
        }
    }

    /// Whether others get into its mirror, or see what it lists, whom the source keeps out.
    fn is_exposed(&self, mirror: &OwnedFd, have: &Stat, run: &Run) -> bool {
        let inode = HeldInode::Open(mirror.as_fd());
        let is_same = |want| metadata::has_acl_of(inode, want) == Ok(true);
        let xattrs = self.xattrs.as_ref().filter(|_| run.rules.keep.acls);
        is_exposed(&self.stat, have, xattrs.is_none_or(is_same), &run.rules)
    }
}

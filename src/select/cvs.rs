//! What CVS leaves out, as rsync's `-C` has it: by a list of its own, by what the user adds to it (`~/.cvsignore`, `CVSIGNORE`), and
//! by a file in each directory.

use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::files::named;
use crate::select::rule::{Line, Rule, Template};

/// The file in a directory, and in the user's home.
pub(super) const FILE: &str = ".cvsignore";

/// Names and patterns that CVS leaves out (rsync(1), `--cvs-exclude`). They don't keep a directory that is being deleted.
const ALWAYS: &[u8] = b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* .#* ,* _$* *$ *.old *.bak \
    *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

/// The rules for all directories. `!` in what the user adds forgets what came before it.
///
/// # Errors
/// When the user's file is there and can't be read.
pub(super) fn rules() -> Result<Vec<Rule>> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(FILE));
    let file = home.as_deref().map(read).transpose()?.flatten().unwrap_or_default();
    let variable = std::env::var_os("CVSIGNORE").map(OsStringExt::into_vec).unwrap_or_default();
    let mut rules = Vec::new();
    for (text, template) in [
        (ALWAYS, Template::of_cvs().perishable()),
        (&*file, Template::of_cvs()),
        (&*variable, Template::of_cvs()),
    ] {
        let lines = template.lines(text);
        let refused = |why| Error::new(Operation::UseRule, PathBuf::from(FILE), Cause::Refused(why));
        for line in lines.map_err(refused)? {
            match line {
                Line::Clear => rules.clear(),
                Line::Rule(rule) => rules.push(rule),
                // No word of such a list names a file.
                Line::Merge(..) | Line::PerDirectory(_) | Line::Cvs => {}
            }
        }
    }
    Ok(rules)
}

fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    let refused = |cause: Cause| Error::new(Operation::ReadRules, file, cause);
    match named::open_to_read(file, false).map_err(refused) {
        Ok(mut open) => open.read_to_end(&mut text).at(Operation::ReadRules, || file).map(|_| Some(text)),
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

//! Everything that the server knows, behind one lock.

use crate::{
    activity::Activity,
    counts::Counts,
    faults::Faults,
    ids::Minter,
    replica::Replica,
    tokens::{Identity, Tokens},
};

/// The data, the tokens, the faults and the counts.
pub(crate) struct World {
    pub(crate) replica: Replica,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) counts: Counts,
    pub(crate) activity: Activity,
    pub(crate) identity: Identity,
    /// Whether a valid token was shown since the start.
    pub(crate) initialised: bool,
    /// The largest file that `inline_files` gives, in bytes.
    pub(crate) max_inline: usize,
}

impl World {
    /// An empty world.
    pub(crate) fn new(max_inline: usize) -> Self {
        let mut minter = Minter::default();
        Self {
            replica: Replica::default(),
            tokens: Tokens::default(),
            faults: Faults::default(),
            counts: Counts::default(),
            activity: Activity::default(),
            identity: Identity {
                account: minter.id("account").to_uppercase(),
                server: minter.id("server").to_uppercase(),
            },
            initialised: false,
            max_inline,
        }
    }

    /// Forgets all but the data and who this server is.
    pub(crate) fn restart(&mut self) {
        self.tokens = Tokens::default();
        self.faults = Faults::default();
        self.activity = Activity::default();
        self.counts.reset();
        self.initialised = false;
        self.replica.forget();
    }
}

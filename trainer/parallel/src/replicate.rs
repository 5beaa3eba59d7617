//! The same network on all ranks.

use sha2::{Digest, Sha256};
use tch::Tensor;

use crate::collective::Collective;
use crate::error::ParallelError;

/// Makes `tensors` equal to rank 0's, after all ranks have found that they have the same names, shapes and kinds in the
/// same order.
///
/// # Errors
/// [`ParallelError::Network`] if they have not; else a collective's.
pub(crate) fn replicate(
    network: &str,
    tensors: &[(&str, &Tensor)],
    comm: &dyn Collective,
) -> Result<(), ParallelError> {
    agree_on_shapes(network, tensors, comm)?;
    for (name, t) in tensors {
        comm.broadcast(&mut t.detach(), 0, &format!("{network} {name}"))?;
    }
    Ok(())
}

fn agree_on_shapes(network: &str, tensors: &[(&str, &Tensor)], comm: &dyn Collective) -> Result<(), ParallelError> {
    let mut digest = Sha256::new();
    for (name, t) in tensors {
        digest.update(format!("{name} {:?} {:?}\n", t.size(), t.f_kind()?));
    }
    let mine = digest.finalize().to_vec();
    let mut theirs = mine.clone();
    comm.broadcast_bytes(&mut theirs, 0, &format!("{network} shapes"))?;
    if comm.any(mine != theirs, &format!("{network} shapes differ"))? {
        return Err(ParallelError::Network {
            rank: comm.rank(),
            network: network.to_owned(),
            what: "the ranks have different networks (parameter names or shapes): do they read the same config?".into(),
        });
    }
    Ok(())
}

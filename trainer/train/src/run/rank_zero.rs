//! What only rank 0 does, and all ranks must know.

use defusion_config::protocol::EXIT_FAILED;
use defusion_parallel::Collective;

use super::TrainError;

/// What `make` returns on rank 0, on all ranks. Where it fails there, all ranks fail, and rank 0 with the cause.
pub(super) fn from_rank_zero(
    comm: &dyn Collective,
    make: impl FnOnce() -> Result<Vec<u8>, TrainError>,
) -> Result<Vec<u8>, TrainError> {
    let mut message = Vec::new();
    let mut failure = None;
    if comm.rank() == 0 {
        match make() {
            Ok(bytes) => {
                message.push(1);
                message.extend(bytes);
            }
            Err(error) => {
                message.push(0);
                message.extend(error.exit_code().to_be_bytes());
                message.extend(error.to_string().into_bytes());
                failure = Some(error);
            }
        }
    }
    comm.broadcast_bytes(&mut message, 0, "news from rank 0")?;
    if let Some(error) = failure {
        return Err(error);
    }
    match message.split_first() {
        Some((1, bytes)) => Ok(bytes.to_vec()),
        Some((_, rest)) => Err(match rest.split_first_chunk() {
            Some((code, text)) => TrainError::RankZero {
                exit_code: i32::from_be_bytes(*code),
                text: String::from_utf8_lossy(text).into_owned(),
            },
            None => TrainError::RankZero { exit_code: EXIT_FAILED, text: "it sent nothing".into() },
        }),
        None => Err(TrainError::RankZero { exit_code: EXIT_FAILED, text: "it sent nothing".into() }),
    }
}

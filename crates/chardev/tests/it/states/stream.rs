//! A long stream of bytes in which every piece shows where it belongs.

use std::sync::LazyLock;

/// The stream repeats after this many bytes, a prime: far more than is ever on its way.
const PERIOD: usize = 1_048_573;
/// The longest piece that is looked up at once.
pub(crate) const PIECE: usize = 64 << 10;
/// As many bytes as it takes to be sure where they are from.
const SURE: usize = 24;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut table: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    table.extend_from_within(..PIECE);
    table
});

/// At most [`PIECE`] bytes of the stream from `offset` on.
pub(crate) fn at(offset: usize, count: usize) -> &'static [u8] {
    let start = offset % PERIOD;
    &TABLE[start..][..count.min(PIECE)]
}

/// How many of `bytes` are the stream from `offset` on.
pub(crate) fn agrees(offset: usize, bytes: &[u8]) -> usize {
    let mut done = 0;
    for piece in bytes.chunks(PIECE) {
        let expected = at(offset + done, piece.len());
        if piece != expected {
            let same = piece.iter().zip(expected).take_while(|(a, b)| a == b);
            return done + same.count();
        }
        done += piece.len();
    }
    done
}

/// Whether `bytes` can begin at `offset`, with as many of them as it takes to be sure.
pub(crate) fn begins(offset: usize, bytes: &[u8]) -> bool {
    let count = bytes.len().min(SURE);
    agrees(offset, &bytes[..count]) == count
}

/// What was wrong with a stream, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) lost: usize,
    /// Doubled, or in another place than their own.
    pub(crate) misplaced: usize,
}

/// Follows a stream through `bytes` from `offset` on. Returns where it stands after them.
pub(crate) fn follow(mut offset: usize, mut bytes: &[u8], wrong: &mut Wrong) -> usize {
    loop {
        let same = agrees(offset, bytes);
        offset += same;
        bytes = &bytes[same..];
        if bytes.is_empty() {
            return offset;
        }
        let Some(found) = locate(bytes) else {
            wrong.misplaced += bytes.len();
            return offset;
        };
        let ahead = (found + PERIOD - offset % PERIOD) % PERIOD;
        if ahead < PERIOD / 2 {
            wrong.lost += ahead;
            offset += ahead;
        } else {
            wrong.misplaced += PERIOD - ahead;
            offset -= PERIOD - ahead;
        }
    }
}

fn locate(bytes: &[u8]) -> Option<usize> {
    let wanted = bytes.get(..SURE)?;
    TABLE[..PERIOD + SURE]
        .windows(SURE)
        .position(|window| window == wanted)
}

#[test]
fn losses_and_repetitions_are_found() {
    let whole = at(1000, 5000);
    for (bytes, lost, misplaced) in [
        (whole.to_vec(), 0, 0),
        ([&whole[..100], &whole[107..]].concat(), 7, 0),
        ([&whole[..100], &whole[90..]].concat(), 0, 10),
        (
            [
                &whole[..100],
                &whole[200..300],
                &whole[100..200],
                &whole[300..],
            ]
            .concat(),
            200,
            200,
        ),
    ] {
        let mut wrong = Wrong::default();
        assert_eq!(follow(1000, &bytes, &mut wrong), 6000);
        assert_eq!(wrong, Wrong { lost, misplaced });
    }
}

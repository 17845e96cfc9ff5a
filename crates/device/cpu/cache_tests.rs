//! Decoding with a cache against attention over whole sequences.

use super::{Cache, CachedRow, Segments, attend_cached, attention};
use crate::AttentionShape;

fn numbers(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.77 + seed).sin()).collect()
}

/// The second of two layers: a prompt, whose last token is then decoded again, and the other tokens one by one.
#[test]
fn equals_attention_over_the_whole_sequence() {
    let sizes = [
        (1, 1, 1, 1),
        (3, 3, 20, 17),
        (2, 2, 17, 33),
        (2, 2, 64, 40),
        (4, 2, 20, 50),
        (6, 1, 16, 35),
        (9, 3, 33, 70),
    ];
    let windows = [None, Some(1), Some(7), Some(16), Some(33), Some(1000)];
    for ((heads, kv_heads, head_width, n), window) in sizes
        .into_iter()
        .flat_map(|size| windows.map(|window| (size, window)))
    {
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_width,
            scale: 0.3,
            window,
        };
        // A layer of other sizes and without a window before it.
        let other = AttentionShape {
            heads: 2,
            kv_heads: 2,
            window: None,
            ..shape
        };
        let (width, d) = (shape.qkv_width(), shape.query_width());
        let qkv = numbers(n * width, 0.0);
        let (mut want, mut log_sums) = (vec![0.0; n * d], vec![0.0; n * heads]);
        let segments = Segments::new([(0..n, None)]);
        attention(&segments, shape, &qkv, &mut want, &mut log_sums);
        let mut cache = Cache::new(&[other, shape], n);
        assert!(cache.room() >= n);
        // The prompt's rows follow those of another one.
        let mut rows = numbers(2 * width, 5.0);
        rows.extend_from_slice(&qkv);
        let prompt = n / 2 + 1;
        cache.put_prompt(1, &rows, &(2..2 + prompt));
        for t in n / 2..n {
            let mut got = vec![9.0; d];
            let mut rows = [CachedRow {
                cache: &mut cache,
                position: t,
            }];
            attend_cached(&mut rows, 1, &qkv[t * width..][..width], &mut got);
            for (got, want) in got.iter().zip(&want[t * d..]) {
                assert!((got - want).abs() < 1e-5, "{shape:?} {t}: {got} {want}");
            }
        }
    }
}

/// Rows of a batch, each at its own position, as one at a time.
#[test]
fn rows_of_a_batch_do_not_mix() {
    let shape = AttentionShape {
        heads: 4,
        kv_heads: 2,
        head_width: 20,
        scale: 0.3,
        window: Some(9),
    };
    let (width, d) = (shape.qkv_width(), shape.query_width());
    let caches = [3, 30, 17].map(|tokens| {
        let mut cache = Cache::new(&[shape], 40);
        cache.put_prompt(0, &numbers(tokens * width, tokens as f32), &(0..tokens));
        (cache, tokens)
    });
    let qkv = numbers(3 * width, 9.0);
    let run = |caches: &mut [(Cache, usize)], qkv: &[f32]| {
        let mut output = vec![7.0; caches.len() * d];
        let rows = caches.iter_mut().map(|(cache, tokens)| CachedRow {
            cache,
            position: *tokens,
        });
        attend_cached(&mut rows.collect::<Vec<_>>(), 0, qkv, &mut output);
        output
    };
    let together = run(&mut caches.clone(), &qkv);
    for i in 0..3 {
        let alone = run(&mut caches.clone()[i..=i], &qkv[i * width..][..width]);
        assert_eq!(alone, together[i * d..][..d]);
    }
    assert!(run(&mut [], &[]).is_empty());
}

#[test]
#[should_panic(expected = "a cache with room")]
fn a_full_cache_takes_no_more() {
    let shape = AttentionShape {
        heads: 1,
        kv_heads: 1,
        head_width: 2,
        scale: 1.0,
        window: Some(4),
    };
    let mut cache = Cache::new(&[shape], 16);
    let mut rows = [CachedRow {
        cache: &mut cache,
        position: 16,
    }];
    attend_cached(&mut rows, 0, &[0.0; 6], &mut [0.0; 2]);
}

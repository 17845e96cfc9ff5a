//! Normalizations of columns in groups against f64 and finite differences.

use super::column_sums::{Groups, sums_of, weight_gradients};
use super::norm::{input_gradient, stats_of_row};
use super::simd::{Isa, all};
use super::split::on_threads;
use super::{
    GroupStats, HostColumns, HostColumnsMut, norm_backward, norm_backward_in_place,
    norm_backward_weights, norm_rows, norm_stats,
};
use crate::NormKind::{Layer, Rms};
use crate::{Norm, Write};
use std::ops::Range;

fn numbers(n: usize, seed: f32) -> Vec<f32> {
    let number = |i| (i as f32 * 0.61 + seed).sin() * 2.0 + 0.3;
    (0..n).map(number).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// The normalization of groups that lie one behind the other.
fn naive(norm: Norm, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let n = w.len() as f64;
    let group = |x: &[f64]| -> Vec<f64> {
        let mean = match norm.kind {
            Layer => x.iter().sum::<f64>() / n,
            Rms => 0.0,
        };
        let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (square + f64::from(norm.epsilon)).sqrt();
        let offset = f64::from(norm.weight_offset);
        (0..w.len())
            .map(|i| (x[i] - mean) * scale * (offset + w[i]) + b[i])
            .collect()
    };
    x.chunks(w.len()).flat_map(group).collect()
}

/// Rows of so many numbers, of which these columns are normalized, in groups of so many.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    row_width: usize,
    columns: Range<usize>,
    group: usize,
    norm: Norm,
}

fn cases() -> Vec<Case> {
    let sizes = [
        (1, 1, 0..1, 1),
        (3, 5, 0..5, 5),
        (7, 67, 0..67, 67),
        (130, 96, 0..96, 96),
        // The queries and the keys of three heads and one, as heads and as a whole.
        (5, 100, 0..60, 20),
        (5, 100, 60..80, 20),
        (9, 100, 0..60, 60),
        (300, 340, 0..204, 68),
    ];
    let norms = [(Layer, 0.0, 1e-5), (Rms, 0.0, 1e-6), (Rms, 1.0, 1e-2)];
    let case = |(rows, row_width, columns, group): (usize, usize, Range<usize>, usize)| {
        norms.map(|(kind, weight_offset, epsilon)| Case {
            rows,
            row_width,
            columns: columns.clone(),
            group,
            norm: Norm {
                kind,
                epsilon,
                weight_offset,
            },
        })
    };
    sizes.into_iter().flat_map(case).collect()
}

impl Case {
    fn columns<'a>(&self, x: &'a [f32]) -> HostColumns<'a> {
        HostColumns::new(x, self.row_width, &self.columns)
    }

    fn columns_mut<'a>(&self, x: &'a mut [f32]) -> HostColumnsMut<'a> {
        HostColumnsMut::new(x, self.row_width, &self.columns)
    }

    /// Numbers of all columns.
    fn numbers(&self, seed: f32) -> Vec<f32> {
        numbers(self.rows * self.row_width, seed)
    }

    /// Those of the columns that are normalized, one row behind the other.
    fn chosen(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.chunks(self.row_width);
        rows.flat_map(|row| row[self.columns.clone()].to_vec())
            .collect()
    }

    /// Whether `x` is `old` beside the columns.
    fn beside(&self, x: &[f32], old: f32) -> bool {
        let beside =
            |(i, x): (usize, &f32)| self.columns.contains(&(i % self.row_width)) || *x == old;
        x.iter().enumerate().all(beside)
    }

    fn stats(&self, x: &[f32]) -> Vec<GroupStats> {
        let groups = self.rows * self.columns.len() / self.group;
        let mut stats = vec![GroupStats::default(); groups];
        norm_stats(self.norm, self.columns(x), &mut stats);
        stats
    }
}

#[test]
fn forward_with_and_without_biases() {
    for case in cases() {
        let (x, w, b) = (
            case.numbers(0.0),
            numbers(case.group, 1.0),
            numbers(case.group, 2.0),
        );
        let (stats, zeros) = (case.stats(&x), vec![0.0; case.group]);
        for bias in [None, Some(&b[..])] {
            let mut y = vec![7.0; x.len()];
            let to = case.columns_mut(&mut y);
            norm_rows(case.norm, case.columns(&x), &stats, &w, bias, to);
            assert!(case.beside(&y, 7.0));
            let (x, b) = (wide(&case.chosen(&x)), wide(bias.unwrap_or(&zeros)));
            let want = naive(case.norm, &x, &wide(&w), &b);
            for (y, want) in case.chosen(&y).iter().zip(&want) {
                assert!((f64::from(*y) - want).abs() < 2e-5, "{case:?} {y} {want}");
            }
        }
    }
}

#[test]
fn gradients_against_differences() {
    for case in cases() {
        let (x, w, b) = (
            case.numbers(0.0),
            numbers(case.group, 1.0),
            numbers(case.group, 2.0),
        );
        let (g, stats) = (case.numbers(3.0), case.stats(&x));
        let (x_host, dy) = (case.columns(&x), case.columns(&g));
        let run = |into: Write| {
            let mut dx = vec![1.0; x.len()];
            let to = case.columns_mut(&mut dx);
            norm_backward(case.norm, (x_host, &stats), &w, dy, to, into);
            assert!(case.beside(&dx, 1.0));
            case.chosen(&dx)
        };
        let (dx, added) = (run(Write::Over), run(Write::Add));
        let mut in_place = g.clone();
        let to = case.columns_mut(&mut in_place);
        norm_backward_in_place(case.norm, (x_host, &stats), &w, to);
        assert_eq!(case.chosen(&in_place), dx);
        let (mut dw, mut db) = (vec![2.0; case.group], vec![3.0; case.group]);
        norm_backward_weights((x_host, &stats), dy, &mut dw, &mut db);
        let mut alone = vec![2.0; case.group];
        norm_backward_weights((x_host, &stats), dy, &mut alone, &mut []);
        assert_eq!(alone, dw);

        let (x, g) = (wide(&case.chosen(&x)), wide(&case.chosen(&g)));
        let (w, b) = (wide(&w), wide(&b));
        let loss = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
            let y = naive(case.norm, x, w, b);
            y.iter().zip(&g).map(|(y, g)| y * g).sum()
        };
        let difference = |of: &[f64], i: usize, loss: &dyn Fn(&[f64]) -> f64| {
            let (mut up, mut down) = (of.to_vec(), of.to_vec());
            up[i] += 1e-5;
            down[i] -= 1e-5;
            (loss(&up) - loss(&down)) / 2e-5
        };
        let close = |got: f32, want: f64| {
            let error = (f64::from(got) - want).abs();
            assert!(error < 2e-4 * (1.0 + want.abs()), "{case:?} {got} {want}");
        };
        for i in (0..x.len()).step_by(1 + x.len() / 40) {
            let want = difference(&x, i, &|x| loss(x, &w, &b));
            close(dx[i], want);
            close(added[i] - 1.0, want);
        }
        for i in (0..w.len()).step_by(1 + w.len() / 40) {
            close(dw[i] - 2.0, difference(&w, i, &|w| loss(&x, w, &b)));
            close(db[i] - 3.0, difference(&b, i, &|b| loss(&x, &w, b)));
        }
    }
}

#[test]
fn the_same_for_any_number_of_threads() {
    for case in cases().into_iter().filter(|case| case.rows > 100) {
        let (x, w, g) = (
            case.numbers(0.0),
            numbers(case.group, 1.0),
            case.numbers(2.0),
        );
        let run = |threads| {
            on_threads(threads, || {
                let stats = case.stats(&x);
                let (mut dx, mut dw) = (g.clone(), vec![0.0; case.group]);
                let x = (case.columns(&x), &stats[..]);
                norm_backward_weights(x, case.columns(&g), &mut dw, &mut []);
                norm_backward_in_place(case.norm, x, &w, case.columns_mut(&mut dx));
                (dx, dw)
            })
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }
}

#[test]
fn instruction_sets_agree() {
    let (x, w, dy) = (numbers(202, 0.0), numbers(101, 1.0), numbers(202, 2.0));
    for (kind, into) in [(Layer, Write::Add), (Rms, Write::Over)] {
        let norm = Norm {
            kind,
            epsilon: 1e-5,
            weight_offset: 0.0,
        };
        let run = |isa| {
            let mut stats = [GroupStats::default(); 2];
            stats_of_row(isa, norm, &x, &mut stats);
            let (mut dx, mut sums) = (vec![0.0; 202], vec![0.0; 37]);
            input_gradient(isa, kind, &x, &stats, &w, &dy, &mut dx, into);
            let (mut dw, mut db) = (vec![0.0; 37], vec![0.0; 37]);
            let all = |x| HostColumns::new(x, 202, &(0..202));
            let groups = Groups {
                x: all(&x),
                dy: all(&dy),
                stats: &stats,
                width: 101,
            };
            weight_gradients(isa, groups, 0..1, 64, &mut dw, &mut db);
            sums_of(isa, &x, 101, 64, &mut sums);
            let stats = stats.map(|stats| [stats.mean, stats.scale]).concat();
            [dx, dw, db, sums, stats].concat()
        };
        let want = run(Isa::Portable);
        for isa in all() {
            for (got, want) in run(isa).iter().zip(&want) {
                assert!((got - want).abs() < 1e-5, "{isa:?} {got} {want}");
            }
        }
    }
}

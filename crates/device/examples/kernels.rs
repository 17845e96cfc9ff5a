//! How fast each kernel is, on one thread, beside what bounds it: copying memory, or the peak of products.
//!
//! `cargo run --release -p rlhf-device --example kernels`. Times are those that the threads of this process
//! spent on a processor, so other programs on the machine disturb them little.

#![forbid(unsafe_code)]

use rlhf_device::{
    Attended, Attention, AttentionShape, CachedPrompt, CachedRow, Columns, ColumnsMut, Cpu,
    DeviceTypes, Dtype, Epilogue, Layers, Matrix, Memory, Nonlinearity, Norm, NormGradients,
    NormKind, NormWeights, Precision, Products, Rope, Slice, SliceMut, Stored, StoredMut, Write,
};

type Buffer = <Cpu as DeviceTypes>::Buffer;

/// Nanoseconds that all threads of this process have run.
fn running_time() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let path = task.ok()?.path().join("schedstat");
        let text = std::fs::read_to_string(path).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(of_task).sum()
}

/// Seconds of processor time in which the system counts it: rounds are much longer.
const ROUND: f64 = 0.06;

/// The seconds of processor time that `work` takes: the least of several rounds.
fn seconds(mut work: impl FnMut()) -> f64 {
    let mut round = |count: usize| {
        let before = running_time();
        (0..count).for_each(|_| work());
        (running_time() - before) as f64 * 1e-9
    };
    let mut count = 1;
    while round(count) < ROUND {
        count *= 2;
    }
    let times = (0..4).map(|_| round(count) / count as f64);
    times.fold(f64::INFINITY, f64::min)
}

fn numbers(length: usize, scale: f32) -> Buffer {
    let mut buffer = Cpu.zeroed(length);
    let values: Vec<f32> = (0..length)
        .map(|i| ((i * 7919 % 10007) as f32 / 5003.0 - 1.0) * scale)
        .collect();
    Cpu.write(&values, StoredMut::new(&mut buffer, Dtype::F32, 0..length));
    buffer
}

fn all(buffer: &Buffer) -> Slice<'_, Cpu> {
    Slice::first(buffer, buffer.len())
}

fn all_mut(buffer: &mut Buffer) -> SliceMut<'_, Cpu> {
    let length = buffer.len();
    SliceMut::first(buffer, length)
}

/// A model's sizes.
struct Model {
    name: &'static str,
    width: usize,
    inner: usize,
    attention: AttentionShape,
}

/// Tokens of a batch.
const N: usize = 1024;

fn print(name: &str, time: f64, amount: f64, unit: &str) {
    let rate = amount / time * 1e-9;
    println!("| {name} | {:.3} ms | {rate:.1} {unit} |", time * 1e3);
}

fn norms(model: &Model) {
    let norm = Norm {
        kind: NormKind::Rms,
        epsilon: 1e-6,
        weight_offset: 0.0,
    };
    let shape = model.attention;
    let (d, width, head) = (model.width, shape.qkv_width(), shape.head_width);
    let layer = Norm {
        kind: NormKind::Layer,
        ..norm
    };
    let keys = shape.query_width()..shape.query_width() + shape.kv_width();
    let cases = [
        ("layer norm", layer, d, 0..d, d),
        ("RMS norm", norm, d, 0..d, d),
        (
            "query norm by head",
            norm,
            width,
            0..shape.query_width(),
            head,
        ),
        ("key norm by head", norm, width, keys, head),
    ];
    for (name, norm, row, columns, group) in cases {
        let (x, w, dy) = (
            numbers(N * row, 1.0),
            numbers(group, 1.0),
            numbers(N * row, 1.0),
        );
        let (mut y, mut dw) = (numbers(N * row, 1.0), numbers(group, 1.0));
        let weights = NormWeights {
            weight: all(&w),
            bias: None,
        };
        let mut stats = Default::default();
        let count = (N * columns.len()) as f64;
        let x = Columns::<Cpu>::new(all(&x), row, columns.clone());
        let time = seconds(|| {
            let y = ColumnsMut::new(all_mut(&mut y), row, columns.clone());
            Cpu.norm(norm, x.clone(), &mut stats, weights, y);
        });
        print(name, time, 8.0 * count, "GB/s");
        let time = seconds(|| {
            let dy = Columns::new(all(&dy), row, columns.clone());
            let dx = ColumnsMut::new(all_mut(&mut y), row, columns.clone());
            let dw = NormGradients::Weight(all_mut(&mut dw));
            Cpu.norm_backward(norm, (x.clone(), &stats), all(&w), dy, dx, Write::Over, dw);
        });
        print(&format!("{name}, backward"), time, 20.0 * count, "GB/s");
    }
}

fn elementwise(model: &Model) {
    let shape = model.attention;
    let mut qkv = numbers(N * shape.qkv_width(), 1.0);
    let half = shape.head_width / 2;
    // Angles of 0: other ones would turn the numbers thousands of times, and random tables would shrink them.
    let (mut cos, sin) = (Cpu.zeroed(N * half), Cpu.zeroed(N * half));
    Cpu.write(
        &vec![1.0; N * half],
        StoredMut::new(&mut cos, Dtype::F32, 0..N * half),
    );
    let rope = Rope::<Cpu> {
        cos: all(&cos),
        sin: all(&sin),
        rotary: 2 * half,
    };
    let positions: Vec<u32> = (0..N as u32).collect();
    let count = (N * (shape.query_width() + shape.kv_width())) as f64;
    let time = seconds(|| Cpu.rope(shape, rope, &positions, all_mut(&mut qkv)));
    print("rope", time, 8.0 * count, "GB/s");

    let inner = model.inner;
    let (x, dy) = (numbers(N * 2 * inner, 3.0), numbers(N * inner, 1.0));
    let (mut y, mut dx) = (numbers(N * inner, 1.0), numbers(N * 2 * inner, 1.0));
    let (silu, count) = (Nonlinearity::Silu, (N * inner) as f64);
    let time = seconds(|| Cpu.activate_gated(silu, inner, all(&x), all_mut(&mut y)));
    print("gated silu", time, 12.0 * count, "GB/s");
    let time = seconds(|| {
        let (y, dx) = (all_mut(&mut y), all_mut(&mut dx));
        Cpu.activate_gated_backward(silu, (all(&x), inner), y, all(&dy), dx);
    });
    print("gated silu, backward", time, 24.0 * count, "GB/s");
    let new = Nonlinearity::GeluNew;
    let time = seconds(|| Cpu.activate_gated(new, inner, all(&x), all_mut(&mut y)));
    print("gated tanh gelu", time, 12.0 * count, "GB/s");

    let (table, mut x) = (
        numbers(20_000 * model.width, 1.0),
        numbers(N * model.width, 1.0),
    );
    let ids: Vec<u32> = (0..N as u32).map(|i| i * 7919 % 20_000).collect();
    let time = seconds(|| {
        let table = Stored::from(all(&table));
        Cpu.embed(&ids, table, 25.25, all_mut(&mut x), Write::Over);
    });
    print(
        "embed, scaled",
        time,
        8.0 * (N * model.width) as f64,
        "GB/s",
    );
}

fn attention(model: &Model, window: Option<usize>) {
    let shape = AttentionShape {
        window,
        ..model.attention
    };
    // Four prompts of 64 tokens with three responses of 64 each.
    let tree: Vec<_> = (0..16)
        .map(|i| (i * 64..(i + 1) * 64, (i % 4 != 0).then_some(i / 4 * 4)))
        .collect();
    for (name, segments) in [
        ("4 trees of 4 × 64", Cpu.segments(&tree)),
        ("one of 1024", Cpu.segments(&[(0..N, None)])),
    ] {
        let pairs = match (name, window) {
            ("one of 1024", None) => N * (N + 1) / 2,
            ("one of 1024", Some(window)) => window * N - window * (window - 1) / 2,
            _ => 16 * 64 * 65 / 2 + 12 * 64 * 64,
        };
        // Of the score and the mixture, and five such in the backward pass.
        let work = (4 * pairs * shape.query_width()) as f64;
        let qkv = numbers(N * shape.qkv_width(), 1.0);
        let (mut output, d_output) = (
            numbers(N * shape.query_width(), 1.0),
            numbers(N * shape.query_width(), 1.0),
        );
        let (mut log_sums, mut d_qkv) = (numbers(N * shape.heads, 1.0), numbers(qkv.len(), 1.0));
        let time = seconds(|| {
            let (output, log_sums) = (all_mut(&mut output), all_mut(&mut log_sums));
            Cpu.attention(&segments, shape, all(&qkv), output, log_sums);
        });
        print(
            &format!("attention, {name}, window {window:?}"),
            time,
            work,
            "GFLOP/s",
        );
        let time = seconds(|| {
            let attended = Attended {
                qkv: all(&qkv),
                output: all(&output),
                log_sums: all(&log_sums),
            };
            Cpu.attention_backward(
                &segments,
                shape,
                attended,
                all(&d_output),
                all_mut(&mut d_qkv),
            );
        });
        print("the same, backward", time, 2.5 * work, "GFLOP/s");
    }
}

fn cached(model: &Model, tokens: usize) {
    let (shape, rows) = (model.attention, 16);
    let qkv = numbers(tokens * shape.qkv_width(), 1.0);
    let mut caches: Vec<_> = (0..rows).map(|_| Cpu.cache(&[shape], tokens + 1)).collect();
    let mut prompts: Vec<_> = caches
        .iter_mut()
        .map(|cache| CachedPrompt {
            cache,
            rows: 0..tokens,
        })
        .collect();
    Cpu.cache_prompts(&mut prompts, 0, all(&qkv));
    let mut output = numbers(rows * shape.query_width(), 1.0);
    let qkv = Slice::first(&qkv, rows * shape.qkv_width());
    let time = seconds(|| {
        for _ in 0..10 {
            let mut rows: Vec<_> = caches
                .iter_mut()
                .map(|cache| CachedRow {
                    cache,
                    position: tokens,
                })
                .collect();
            Cpu.attend_cached(&mut rows, 0, qkv, all_mut(&mut output));
        }
    });
    let bytes = (10 * rows * tokens * 2 * shape.kv_width() * 4) as f64;
    print(
        &format!("cached attention, 16 rows at {tokens}"),
        time,
        bytes,
        "GB/s of keys and values",
    );
}

fn products(model: &Model) {
    let (d, qkv) = (model.width, model.attention.qkv_width());
    for (name, inputs, outputs) in [
        ("qkv", d, qkv),
        ("gate and up", d, 2 * model.inner),
        ("down", model.inner, d),
    ] {
        let (x, w) = (numbers(N * inputs, 1.0), numbers(inputs * outputs, 1.0));
        let mut y = numbers(N * outputs, 1.0);
        let weights = [
            ("[in, out]", Matrix::<Cpu>::new(all(&w), outputs)),
            ("[out, in]", Matrix::new(all(&w), inputs).t()),
        ];
        for (layout, weight) in weights {
            for precision in [Precision::F32, Precision::Bf16] {
                let work = (2 * N * inputs * outputs) as f64;
                let time = seconds(|| {
                    Cpu.linear(
                        precision,
                        all(&x),
                        (weight, None),
                        all_mut(&mut y),
                        Write::Over,
                    );
                });
                print(
                    &format!("{name} {layout} {precision:?}"),
                    time,
                    work,
                    "GFLOP/s",
                );
                let mut packed = Cpu.pack(Buffer::default(), precision, weight);
                let time = seconds(|| {
                    let memory = Cpu.unpack(std::mem::take(&mut packed));
                    packed = Cpu.pack(memory, precision, weight);
                });
                let bytes = (8 * inputs * outputs) as f64;
                print(
                    &format!("{name} {layout} {precision:?}, packing"),
                    time,
                    bytes,
                    "GB/s",
                );
                let mut scratch = Buffer::default();
                let time = seconds(|| {
                    let epilogue = Epilogue {
                        bias: None,
                        scale: 1.0,
                        write: Write::Over,
                    };
                    let x = Slice::first(&x, 16 * inputs);
                    let y = SliceMut::first(&mut y, 16 * outputs);
                    Cpu.multiply_packed(x, &packed, epilogue, &mut scratch, y);
                });
                print(
                    &format!("{name} {layout} {precision:?}, 16 rows packed"),
                    time,
                    work / 64.0,
                    "GFLOP/s",
                );
            }
        }
    }
}

fn main() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global();
    pool.expect("the first pool");
    let x = numbers(N * 4096, 1.0);
    let mut y = numbers(N * 4096, 1.0);
    for length in [N * 576, N * 4096] {
        let time = seconds(|| Cpu.copy(Slice::first(&x, length), SliceMut::first(&mut y, length)));
        print(
            &format!("copying {length} numbers"),
            time,
            8.0 * length as f64,
            "GB/s",
        );
    }
    let (a, mut c) = (numbers(N * N, 1.0), numbers(N * N, 1.0));
    for precision in [Precision::F32, Precision::Bf16] {
        let a = Matrix::new(all(&a), N);
        let time = seconds(|| Cpu.matmul(precision, all_mut(&mut c), Write::Over, 1.0, a, a));
        print(
            &format!("product of 1024³, {precision:?}"),
            time,
            2.0 * (N as f64).powi(3),
            "GFLOP/s",
        );
    }
    let shape = |heads, kv_heads, head_width| AttentionShape {
        heads,
        kv_heads,
        head_width,
        scale: 0.1,
        window: None,
    };
    for model in [
        Model {
            name: "GPT-2's 768",
            width: 768,
            inner: 3072,
            attention: shape(12, 12, 64),
        },
        Model {
            name: "SmolLM2-135M",
            width: 576,
            inner: 1536,
            attention: shape(9, 3, 64),
        },
        Model {
            name: "Qwen3-0.6B",
            width: 1024,
            inner: 3072,
            attention: shape(16, 8, 128),
        },
    ] {
        println!("\n{}: {N} rows\n", model.name);
        norms(&model);
        elementwise(&model);
        attention(&model, None);
        attention(&model, Some(128));
        cached(&model, 96);
        cached(&model, 1000);
        products(&model);
    }
}

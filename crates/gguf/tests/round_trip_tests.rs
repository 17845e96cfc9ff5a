//! What is written is read back, rounded as its type says.

use half::{bf16, f16};
use rlhf_gguf::{Array, GgufFile, NewTensor, TensorType, Value, ValueType, WrittenType};

/// Numbers of many sizes, two of which lie halfway between two of bf16.
fn numbers(count: usize) -> Vec<f32> {
    let mut x = 0.37f32;
    let mut next = || {
        x = (x * 997.3).fract();
        (x - 0.5) * 10f32.powi((x * 1e4) as i32 % 5 - 3)
    };
    let mut values: Vec<f32> = (0..count).map(|_| next()).collect();
    values[0] = f32::from_bits(0x3f80_8000);
    values[1] = f32::from_bits(0x3f81_8000);
    values
}

#[test]
fn tensors_and_metadata_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let metadata: Vec<(String, Value)> = [
        ("u8", Value::Integer(255, ValueType::U8)),
        ("i8", Value::Integer(-128, ValueType::I8)),
        ("u16", Value::Integer(65535, ValueType::U16)),
        ("i16", Value::Integer(-2, ValueType::I16)),
        ("u32", Value::u32(u32::MAX)),
        ("i32", Value::Integer(-3, ValueType::I32)),
        ("u64", Value::Integer(u64::MAX.into(), ValueType::U64)),
        ("i64", Value::Integer(i64::MIN.into(), ValueType::I64)),
        ("f32", Value::f32(0.1)),
        ("f64", Value::Float(0.1, ValueType::F64)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("Ġa\n".into())),
        ("strings", Value::strings(vec![String::new(), "▁".into()])),
        ("i32s", Value::i32s(&[1, -1])),
        ("f32s", Value::f32s(&[0.5])),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into();
    let tensors = WrittenType::ALL.map(|kind| NewTensor {
        name: kind.name().into(),
        shape: vec![3, 64],
        kind,
    });
    let values = numbers(3 * 64);
    rlhf_gguf::write(&path, &metadata, &tensors, |_, sink| {
        sink(&values[..64])?;
        sink(&values[64..])
    })
    .unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.metadata().len(), metadata.len());
    for (key, value) in &metadata {
        assert_eq!(&file.metadata()[key], value, "{key}");
    }
    let Value::Array(array) = &file.metadata()["i32s"] else {
        panic!("an array");
    };
    assert_eq!(array.numbers().unwrap(), [1.0, -1.0]);
    assert_eq!((array.len(), Array::strings(array)), (2, None));
    for kind in WrittenType::ALL {
        let tensor = &file.tensors()[kind.name()];
        assert_eq!(
            (tensor.kind, tensor.shape.as_slice()),
            (kind.tensor_type(), &[3, 64][..])
        );
        let mut read = Vec::new();
        file.read(tensor, |some| {
            read.extend_from_slice(some);
            Ok(())
        })
        .unwrap();
        for (block, (x, y)) in values
            .iter()
            .zip(&read)
            .enumerate()
            .map(|(i, pair)| (i / 32, pair))
        {
            let largest = values[32 * block..32 * block + 32]
                .iter()
                .fold(0f32, |m, x| m.max(x.abs()));
            match kind {
                WrittenType::F32 => assert_eq!(x, y),
                WrittenType::F16 => assert_eq!(f16::from_f32(*x).to_f32(), *y),
                WrittenType::Bf16 => assert_eq!(bf16::from_f32(*x).to_f32(), *y),
                // Half a step, and the rounding of the scale to 11 bits.
                WrittenType::Q8_0 => {
                    assert!(
                        (x - y).abs() <= 0.5001 * largest / 127.0 + x.abs() / 2048.0,
                        "{x} {y}"
                    );
                }
            }
        }
    }
}

#[test]
fn numbers_that_do_not_fit_leave_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, "old").unwrap();
    for (kind, value) in [
        (WrittenType::F16, 1e6),
        (WrittenType::Bf16, f32::MAX),
        (WrittenType::Q8_0, 1e8),
        (WrittenType::F32, f32::NAN),
    ] {
        let tensor = NewTensor {
            name: "output.weight".into(),
            shape: vec![32],
            kind,
        };
        let written = rlhf_gguf::write(&path, &[], &[tensor], |_, sink| sink(&[value; 32]));
        let error = written.unwrap_err().to_string();
        assert!(
            error.contains("output.weight") && error.contains("model.gguf"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn every_type_has_blocks_of_its_size() {
    for kind in [TensorType::Q4K, TensorType::Q5K, TensorType::Q6K] {
        assert_eq!(kind.block_len(), 256);
    }
    assert_eq!(TensorType::Bf16.number(), 30);
}

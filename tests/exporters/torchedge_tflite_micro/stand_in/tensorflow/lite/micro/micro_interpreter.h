#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

struct TfLiteTensor {
  union {
    int8_t* int8;
  } data;
  size_t bytes;
};

// Defined by whoever links this.
extern const size_t stand_in_input_bytes;
extern const size_t stand_in_output_bytes;
void stand_in_invoke(const int8_t* input, int8_t* output);

namespace tflite {

class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, uint8_t* arena, size_t arena_bytes)
      : arena_bytes_(arena_bytes) {
    input_.data.int8 = reinterpret_cast<int8_t*>(arena);
    input_.bytes = stand_in_input_bytes;
    output_.data.int8 = reinterpret_cast<int8_t*>(arena) + stand_in_input_bytes;
    output_.bytes = stand_in_output_bytes;
  }
  TfLiteStatus AllocateTensors() {
    return arena_used_bytes() <= arena_bytes_ ? kTfLiteOk : kTfLiteError;
  }
  TfLiteTensor* input(size_t) { return &input_; }
  TfLiteTensor* output(size_t) { return &output_; }
  TfLiteStatus Invoke() {
    stand_in_invoke(input_.data.int8, output_.data.int8);
    return kTfLiteOk;
  }
  size_t arena_used_bytes() const { return input_.bytes + output_.bytes; }

 private:
  size_t arena_bytes_;
  TfLiteTensor input_;
  TfLiteTensor output_;
};

}  // namespace tflite

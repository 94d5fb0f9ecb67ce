#pragma once
#include <stdio.h>

struct StandInSerial {
  void begin(unsigned long) {}
  explicit operator bool() const { return true; }
  void print(const char* text) { printf("%s", text); }
  void print(unsigned long number) { printf("%lu", number); }
  void println(const char* text) { printf("%s\n", text); }
  void println(unsigned long number) { printf("%lu\n", number); }
  void println(int number) { printf("%d\n", number); }
  void println(double number) { printf("%f\n", number); }
};
static StandInSerial Serial;

inline unsigned long millis() { return 0; }
inline unsigned long micros() { return 0; }
inline void delay(unsigned long) {}

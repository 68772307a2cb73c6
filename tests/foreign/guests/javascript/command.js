// The program of every toolchain, in JavaScript on the interfaces of WASI 0.2: see README.md.
import { getStdin } from 'wasi:cli/stdin@0.2.12';
import { getStdout } from 'wasi:cli/stdout@0.2.12';
import { getArguments, getEnvironment } from 'wasi:cli/environment@0.2.12';
import { exit } from 'wasi:cli/exit@0.2.12';

const PIECE = 65536n;

function* pieces() {
  const input = getStdin();
  while (true) {
    try {
      yield input.blockingRead(PIECE);
    } catch (error) {
      if (error.payload?.tag === 'closed') return;
      throw error;
    }
  }
}

function write(bytes) {
  const output = getStdout();
  // The most that one call accepts.
  for (let at = 0; at < bytes.length; at += 4096) {
    output.blockingWriteAndFlush(bytes.slice(at, at + 4096));
  }
}

const print = (text) => write(new TextEncoder().encode(text));

function read() {
  const decoder = new TextDecoder();
  let text = '';
  for (const piece of pieces()) text += decoder.decode(piece, { stream: true });
  return text + decoder.decode();
}

const modes = {
  cat() {
    for (const piece of pieces()) write(piece);
  },
  words() {
    const words = read().split(/\s+/).filter((word) => word);
    print(`${words.length} words, ${new Set(words).size} different\n`);
  },
  lines(count) {
    const lines = [];
    for (let i = 0; i < Number(count); i++) lines.push(`line ${i}\n`);
    print(lines.join(''));
  },
  'large-print'() {
    console.log('x'.repeat(200000));
  },
  prompt() {
    print('name? ');
    print('hello ' + read());
  },
  given(...given) {
    for (const argument of given) print(`argument ${argument}\n`);
    const found = getEnvironment().find(([name]) => name === 'GREETING');
    print(`greeting ${found ? found[1] : ''}\n`);
  },
  exit(code) {
    // `exit` can report no more.
    exit({ tag: code === '0' ? 'ok' : 'err' });
  },
};

export const run = {
  run() {
    const [, mode, ...given] = getArguments();
    modes[mode](...given);
  },
};

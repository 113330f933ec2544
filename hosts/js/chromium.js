// A Chromium without a window.

import { chromium as playwright } from 'playwright-core';

/** The program named by CHROMIUM, or the one of the npm package. */
export async function launch() {
  if (process.env.CHROMIUM) return playwright.launch({ executablePath: process.env.CHROMIUM });
  const { default: packed } = await import('@sparticuz/chromium');
  return playwright.launch({ executablePath: await packed.executablePath(), args: packed.args });
}

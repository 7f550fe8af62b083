import t from 'tap';
import { findThermal } from '../../src/device/thermal.ts';

t.test('the temperature is that of the processor', async t => {
  const zone = (type: string, temp: string) => ({ type, temp });
  const board = (zones: Record<string, { type: string; temp: string }>) =>
    t.testdir({ sys: { class: { thermal: zones } } });
  t.equal(
    findThermal(
      board({ thermal_zone0: zone('acpitz', '27800'), thermal_zone1: zone('cpu-thermal', '51234') }),
    ).temperatureC(),
    51.234,
  );
  t.equal(findThermal(board({ thermal_zone0: zone('gpu', '40000') })).temperatureC(), 40);
  t.equal(
    findThermal(board({ thermal_zone0: zone('cpu', '-274000'), thermal_zone1: zone('x', 'n/a') })).temperatureC(),
    undefined,
  );
  t.equal(findThermal(t.testdir()).temperatureC(), undefined);
});

t.test("where no zone is the processor's its sensor tells, as on AMD's", async t => {
  const nvme = { name: 'nvme\n', temp1_input: '33850\n' };
  const amd = { name: 'k10temp\n', temp1_input: '61500\n' };
  const thermal = { thermal_zone0: { type: 'acpitz\n', temp: '16800\n' } };
  const board = (hwmon: Record<string, typeof amd>) => t.testdir({ sys: { class: { thermal, hwmon } } });
  t.equal(findThermal(board({ hwmon0: nvme, hwmon1: amd })).temperatureC(), 61.5);
  t.equal(findThermal(board({ hwmon0: nvme })).temperatureC(), 16.8);
});

t.test('a Raspberry Pi says by its firmware whether it is slow now', async t => {
  const board = (word: string) =>
    t.testdir({ sys: { devices: { platform: { soc: { 'soc:firmware': { get_throttled: word } } } } } });
  t.equal(findThermal(board('0\n')).isThrottled(), false);
  t.equal(findThermal(board('50000\n')).isThrottled(), false, 'it was once');
  t.equal(findThermal(board('50005\n')).isThrottled(), true);
  t.equal(findThermal(board('e0008\n')).isThrottled(), true, 'the soft limit');
  const firmware = { 'soc@107c000000:firmware': { get_throttled: '4\n' } };
  const five = t.testdir({ sys: { devices: { platform: { 'soc@107c000000': firmware } } } });
  t.equal(findThermal(five).isThrottled(), true, 'a Raspberry Pi 5');
});

t.test('elsewhere the devices that cool the processor tell', async t => {
  const device = (type: string, cur_state: string) => ({ type, cur_state });
  const board = (devices: Record<string, { type: string; cur_state: string }>) =>
    t.testdir({ sys: { class: { thermal: devices } } });
  const fan = device('pwm-fan\n', '3\n');
  t.equal(findThermal(board({ cooling_device0: fan })).isThrottled(), undefined, 'a fan makes nothing slower');
  t.equal(
    findThermal(board({ cooling_device0: fan, cooling_device1: device('cpufreq-cpu0\n', '0\n') })).isThrottled(),
    false,
  );
  t.equal(findThermal(board({ cooling_device0: device('thermal-cpufreq-0\n', '2\n') })).isThrottled(), true);
  t.equal(findThermal(board({ cooling_device0: device('Processor\n', '1\n') })).isThrottled(), true);
  t.equal(findThermal(t.testdir()).isThrottled(), undefined);
});

/* Tails of distributions, without a branch or a call: loops over them run in the lanes of the machine. */
#ifndef UNSHUFFLE_TAILS_H
#define UNSHUFFLE_TAILS_H

#include "lanes.h"

/* e^(z^2) erfc(z) for z >= 0, to 1e-16: t = 3.5 / (3.5 + z) times a polynomial in u = 2 t - 1, its even and its odd
 * terms side by side. (The Chebyshev interpolant of degree 23, found in 60 digits; what was cut sums to 6.0e-18.) */
static inline double scaled_erfc(double z)
{
    const double t = 3.5 / (3.5 + z), u = 2.0 * t - 1.0, w = u * u;
    double even = -2.7924631691045342e-10;
    even = even * w + 3.3597818871355161e-9;
    even = even * w - 2.4720483544777163e-8;
    even = even * w + 1.5774447750706495e-7;
    even = even * w - 9.6922340652769437e-7;
    even = even * w + 5.3277286026587994e-6;
    even = even * w - 1.2017735602341009e-5;
    even = even * w - 0.00037295848976203977;
    even = even * w + 0.0075767485384179051;
    even = even * w + 0.064496749042069337;
    even = even * w + 0.19831818475275664;
    even = even * w + 0.31058731121778859;
    double odd = 8.9648322860721437e-11;
    odd = odd * w - 9.3035299337607648e-10;
    odd = odd * w + 5.6699404551578331e-9;
    odd = odd * w - 3.2219268537273778e-8;
    odd = odd * w + 2.2672609212794516e-7;
    odd = odd * w - 2.0693607530943401e-6;
    odd = odd * w + 2.1364759865405269e-5;
    odd = odd * w - 0.0002041518866576033;
    odd = odd * w + 0.00090772866664979829;
    odd = odd * w + 0.026376773325446627;
    odd = odd * w + 0.12435886477624941;
    odd = odd * w + 0.26794277844774633;
    return t * (odd * u + even);
}

/* atan(1 / v) / pi for v >= 0, to 1e-16 of itself. tan(pi / 8) and tan(3 pi / 8) part the angles that are turned by a
 * half, a quarter or nothing; the rest lies within pi / 8. (Interpolant of degree 23 at Chebyshev's points, found in 60
 * digits; it is within 4e-19.) */
static inline double angle_above(double v)
{
    const int far = v > 2.4142135623730951, near = v <= 0.41421356237309503;
    const double over = far ? 1.0 : near ? -v : 1.0 - v, under = far ? v : near ? 1.0 : 1.0 + v;
    const double r = over / under, w = r * r, ww = w * w;
    double even = 0.012084716779078377, odd = -0.0056676339579142481;
    even = even * ww + 0.018611191653538658, odd = odd * ww - 0.016027228898845648;
    even = even * ww + 0.024484540738000457, odd = odd * ww - 0.021208834334443891;
    even = even * ww + 0.0353677639659087, odd = odd * ww - 0.028937223286017563;
    even = even * ww + 0.063661977236569986, odd = odd * ww - 0.045472840862822987;
    even = even * ww + 0.31830988618379067, odd = odd * ww - 0.10610329539459622;
    return (far ? 0.0 : near ? 0.5 : 0.25) + r * (even + w * odd);
}

#endif
